//! Traces, by the first byte: the Standard Workload Format, JSON lines, or a map of columns, a zero, and what they are of.

use std::fs;

use apportion::config::trace_map;
use apportion::sim::trace::{self, Key, Trace, TraceError, swf::Columns};

fn read_swf(mut text: &[u8], columns: &Columns) -> Result<Trace, TraceError> {
    trace::swf::read(&mut text, columns, &[Key::Group, Key::User], None)
}

/// A map is read from a file, as the command does it.
fn read_mapped(bytes: &[u8]) -> Option<Result<Trace, TraceError>> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("columns.toml");
    fs::write(&file, &bytes[..end]).unwrap();
    match trace_map::load(&file) {
        Ok(columns) => Some(read_swf(&bytes[end + 1..], &columns)),
        Err(errors) => {
            assert!(!errors.errors.is_empty() && !errors.to_string().is_empty());
            None
        }
    }
}

pub(crate) fn run(bytes: &[u8]) {
    let Some((kind, mut text)) = bytes.split_first() else {
        return;
    };
    let n_lines = text.split(|byte| *byte == b'\n').count();
    let read = match kind % 3 {
        0 => Some(read_swf(text, &Columns::default())),
        1 => Some(trace::lines::read(
            &mut text,
            &[Key::Queue, Key::User],
            None,
        )),
        _ => read_mapped(text),
    };
    match read {
        // A trace is no larger than what it was read from.
        Some(Ok(trace)) => assert!(trace.jobs.len() <= n_lines),
        Some(Err(error)) => assert!(!error.to_string().is_empty()),
        None => {}
    }
}
