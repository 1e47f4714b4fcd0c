//! The plugin that tests run on, and programs.

#![allow(dead_code, reason = "each test crate uses its part")]

pub(crate) mod programs;

use std::io::{self, Write};
use std::path::PathBuf;

use backend_tpu_stablehlo::pjrt::{Attributes, Client, NamedValue, Plugin};

/// A CPU plugin's file, from `TESSERA_PJRT_PLUGIN`. Without one, says so past the test harness, which shows nothing of tests
/// that pass.
pub(crate) fn plugin_path(test: &str) -> Option<PathBuf> {
    let path = knobs::PJRT_PLUGIN.get().map(PathBuf::from);
    if path.is_none() {
        let how = "set TESSERA_PJRT_PLUGIN to a PJRT plugin for CPUs, such as `tessera plugin install cpu` gets";
        // Nothing depends on whether anyone reads it.
        let _ = writeln!(io::stderr(), "SKIPPED {test}: {how}");
    }
    path
}

/// A client with so many CPU devices.
pub(crate) fn client(test: &str, devices: i64) -> Option<Client> {
    let plugin = Plugin::load(&plugin_path(test)?).expect("the plugin loads");
    let options = Attributes::from([("cpu_device_count".to_owned(), NamedValue::Integer(devices))]);
    Some(Client::new(&plugin, &options).expect("a client"))
}
