// Loads a workload file for the agent. A module of its own: code that V8 took from its cache has lost the way to import by
// itself.
import url_ = require('node:url');

/** require() takes ES modules too, without the loader of import(), which takes longer to start than most files to run. */
async function importUrl(url: string): Promise<unknown> {
  try {
    return require(url_.fileURLToPath(url)) as unknown;
  } catch {
    // One that awaits at its top level is no error; and what is one, import() says as well.
    return import(url);
  }
}

export = importUrl;
