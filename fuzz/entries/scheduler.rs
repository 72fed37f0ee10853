//! What Mesos' masters send to the scheduler. The first bytes say how long the pieces are, and the pauses between them.

use std::sync::LazyLock;
use std::time::Duration;

use apportion::backend::mesos::fuzzed;
use apportion::backend::settings::MesosConfig;
use apportion::config::{self, BackendConfig};
use apportion::engine::EngineSettings;
use apportion::policies::Registry;

static CONFIG: LazyLock<(MesosConfig, EngineSettings)> = LazyLock::new(|| {
    let text = "[backend]\nkind = \"mesos\"\n[backend.mesos]\nmasters = [\"http://127.0.0.1:1\"]\n";
    let config = config::parse(text, &Registry::default()).unwrap();
    match config.backend {
        BackendConfig::Mesos(backend) => (*backend, config.engine),
        BackendConfig::Local(_) => unreachable!("it says mesos"),
    }
});

pub(crate) fn run(bytes: &[u8]) {
    let [piece, pause, stream @ ..] = bytes else {
        return;
    };
    let pause = Duration::from_millis(u64::from(*pause) * 500);
    let (backend, engine) = CONFIG.clone();
    fuzzed::hear(backend, engine, stream, usize::from(*piece) * 8, pause);
}
