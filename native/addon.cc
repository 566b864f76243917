// The addon's entry: what it exports is listed, with types, as NativeAddon in src/native.ts, its only importer.
#include <napi.h>

#include "binding.h"
#include "guard.h"

namespace daxrig {

static Napi::Object init(Napi::Env env, Napi::Object exports) {
  installGuard();
  env.SetInstanceData(new Instance);
  const Exports all{exports, Napi::Object::New(env)};
  exportMapping(all);
  exportMeasure(all);
  exportFiles(all);
  exportRace(all);
  exportSystem(all);
  exports.Set("async", all.later);
  return exports;
}

}  // namespace daxrig

using daxrig::init;
NODE_API_MODULE(daxrig, init)
