// Loads a workload file for the agent. A module of its own: code that V8 took from its cache, or from a snapshot, has lost the way to
// import by itself.
import url_ = require('node:url');

/** require() takes ES modules too, without the loader of import(), which takes longer to start than most files to run. */
async function importUrl(url: string): Promise<unknown> {
  try {
    return require(url_.fileURLToPath(url)) as unknown;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'ERR_REQUIRE_ASYNC_MODULE' && code !== 'ERR_REQUIRE_ESM') throw error;
    return import(url); // it awaits at its top level
  }
}

export = importUrl;
