{
  # sanitize=1 is the variant for tests: see scripts/build-addon.mjs --sanitize.
  "variables": { "sanitize%": 0 },
  "target_defaults": {
    "defines": ["_GNU_SOURCE"],
    "cflags!": ["-fno-exceptions"],
    "cflags_cc!": ["-fno-exceptions", "-fno-rtti", "-std=gnu++17", "-std=gnu++20"],
    # no-plt: a call of the C library costs what it costs a static program, in timed loops, too; and none is bound during one.
    "cflags_cc": ["-std=c++17", "-Wall", "-Wextra", "-fvisibility=hidden", "-fno-plt"],
    "conditions": [
      ["sanitize==1", {
        "cflags_cc": ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-O1", "-g"],
        "ldflags": ["-fsanitize=address,undefined"],
      }],
    ],
  },
  "targets": [
    {
      "target_name": "daxrig",
      "sources": [
        "native/access.cc",
        "native/addon.cc",
        "native/bind_files.cc",
        "native/bind_mapping.cc",
        "native/bind_measure.cc",
        "native/bind_race.cc",
        "native/bind_system.cc",
        "native/binding.cc",
        "native/errors.cc",
        "native/files.cc",
        "native/forked.cc",
        "native/guard.cc",
        "native/measure.cc",
        "native/names.cc",
        "native/pages.cc",
        "native/program.cc",
        "native/race.cc",
        "native/region.cc",
        "native/system.cc",
        "native/trace.cc",
        "native/uring.cc",
      ],
      "include_dirs": ["<!(node -p \"require('node-addon-api').include_dir\")"],
      # SWALLOW: errors that a worker thread cannot throw any more because it is being terminated must not end the process.
      "defines": ["NAPI_VERSION=8", "NAPI_CPP_EXCEPTIONS", "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS"],
      # The signal handlers live in this object: it must never be unmapped, not even when the worker thread that loaded it ends.
      "ldflags": ["-Wl,-z,nodelete"],
    },
    {
      # The second process of the workloads that need one.
      "target_name": "daxrig-peer",
      "type": "executable",
      "sources": [
        "native/access.cc",
        "native/errors.cc",
        "native/guard.cc",
        "native/names.cc",
        "native/peer.cc",
        "native/region.cc",
        "native/system.cc",
      ],
    },
  ],
}
