//! Tests of traces: what archives bend, and what isn't a trace at all.

use super::swf::{Columns, Measured, Per};
use super::synthetic::Synthetic;
use super::*;

fn swf(text: &str) -> Result<Trace, TraceError> {
    swf::read(
        &mut text.as_bytes(),
        &Columns::default(),
        &[Key::User],
        None,
    )
}

fn lines(text: &str) -> Result<Trace, TraceError> {
    lines::read(&mut text.as_bytes(), &[Key::Group, Key::User], None)
}

/// `12s user1 cpus=4 mem=8 for 60s`
fn shown(trace: &Trace) -> Vec<String> {
    let one = |job: &Job| {
        let demand = job
            .demand
            .iter()
            .map(|(name, amount)| format!(" {name}={amount}"));
        let demand: String = demand.collect();
        let (submitted, run) = (job.submitted as f64 / 1000.0, job.run_time as f64 / 1000.0);
        format!("{submitted}s {}{demand} for {run}s", job.queue)
    };
    trace.jobs.iter().map(one).collect()
}

#[test]
fn a_job_of_the_standard_format() {
    let text = "; MaxProcs: 64\n;Note: x\n\n  1 100 5 60 4 -1 -1 8 90 1024 1 7 2 -1 3 1 -1 -1\n2 90.5 5 1.25 4 -1 2048 -1 90 -1 0 8 2 -1 3 1 -1 -1\n";
    let trace = swf(text).unwrap();
    assert_eq!(trace.processors, Some(64));
    assert_eq!(
        shown(&trace),
        [
            "0s user8 cpus=4 mem=8 for 1.25s",
            "9.5s user7 cpus=8 mem=8 for 60s"
        ]
    );
}

#[test]
fn what_never_ran_is_left_out_and_counted() {
    let line = |run: &str, processors: &str, status: u32| {
        format!("1 0 -1 {run} {processors} -1 -1 {processors} -1 -1 {status} 1 1 1 1 1 1 -1\n")
    };
    let text = [
        line("60", "1", 1),
        line("-1", "1", 1),
        line("-1399999999", "1", 1),
        line("0", "1", 5),
        line("60", "1", 5),
        line("60", "-1", 1),
        line("60", "1", 3),
        line("99999999999", "1", 1),
        line("60", "999999999999", 1),
    ];
    let trace = swf(&text.concat()).unwrap();
    assert_eq!(trace.jobs.len(), 2, "cancelled while it ran is a run, too");
    let skipped: Vec<_> = trace.skipped.into_iter().collect();
    assert_eq!(
        skipped,
        [
            ("are parts of other records", 1),
            ("demand more than an amount can say", 1),
            ("have no processors", 1),
            ("never started", 2),
            ("ran for more than 100 years", 1),
            ("were cancelled before they started", 1),
        ]
    );
}

#[test]
fn other_columns_and_units() {
    let columns = Columns {
        queue: 19,
        nodes: Some(20),
        mem: Some(Measured {
            column: 10,
            milli: (1000, 1 << 20),
            per: Per::Node,
        }),
        mem_used: None,
        ..Columns::default()
    };
    let text = "1 0 -1 60 4 -1 -1 4 -1 1073741824 1 7 2 -1 -1 1 1 -1 q_long {12,12,14,14}\n2 0 -1 60 4 -1 -1 4 -1 -1 1 7 2 -1 -1 1 1 -1 a/b!c 3\n";
    let trace = swf::read(&mut text.as_bytes(), &columns, &[Key::Queue], None).unwrap();
    assert_eq!(
        shown(&trace),
        [
            "0s q_long cpus=4 mem=2048 for 60s",
            "0s a_b_c cpus=4 for 60s"
        ]
    );
    let trace = swf::read(
        &mut text.as_bytes(),
        &columns,
        &[Key::Group, Key::User],
        Some(1),
    );
    assert_eq!(&*trace.unwrap().jobs[0].queue, "group2/user7");
}

#[test]
fn wrong_lines_are_told_with_their_place() {
    let error = |text: &str| swf(text).unwrap_err().to_string();
    assert_eq!(
        error("1 2 3\n"),
        "line 1: has 3 columns, and column 11 is needed; see --map for other formats"
    );
    assert!(
        error("\n1 soon -1 60 4 -1 -1 4 -1 -1 1 7 2 -1 -1 1 1 -1")
            .starts_with("line 2, column 2: 'soon' is no number")
    );
    assert!(error("1 NaN -1 60 4 -1 -1 4 -1 -1 1 7 2 -1 -1 1 1 -1").contains("'NaN'"));
    assert_eq!(error("; nothing\n"), "there is no job to replay in it");
    assert!(error("1 0 -1 -1 4 -1 -1 4 -1 -1 1 7 2 -1 -1 1 1 -1").ends_with("; 1 never started"));
    assert!(error(&"1 ".repeat(600_000)).contains("longer than 1 MiB"));
    let bytes: &[u8] = &[0xff, 0xfe, 0x00, b'\n'];
    let read = swf::read(&mut &bytes[..], &Columns::default(), &[], None);
    assert!(matches!(read, Err(TraceError::TooFewColumns { .. })));
}

#[test]
fn json_lines() {
    let text = "{\"submit\": 5, \"run\": 1.5, \"user\": \"ann\", \"group\": \"maps/render\", \"demand\": {\"cpus\": 0.5, \"db\": 3}}\n{\"submit\": 3, \"run\": 0}\n";
    assert_eq!(
        shown(&lines(text).unwrap()),
        [
            "0s unknown/unknown cpus=1 for 0s",
            "2s maps/render/ann cpus=0.5 db=3 for 1.5s"
        ]
    );
    let error = |text: &str| lines(text).unwrap_err().to_string();
    assert!(error("{\"submit\": -1, \"run\": 0}").starts_with("line 1: submit must be seconds"));
    assert!(
        error("{\"submit\": 1, \"run\": 0, \"demand\": {\"cpus\": -1}}").contains("demand.cpus")
    );
    assert!(error("{\"submit\": 1, \"run\": 0, \"demand\": {}}").contains("above 0"));
    assert!(error("{\"submit\": 1, \"runs\": 0}").contains("unknown field `runs`"));
    assert!(error("[]").starts_with("line 1: "));
}

#[test]
fn a_made_up_trace_is_the_same_for_the_same_seed_and_has_what_real_ones_have() {
    let made = Synthetic {
        seed: 7,
        n_jobs: 500,
        n_users: 20,
        processors: 128,
        pause: 100,
    };
    let text = made.to_swf();
    assert_eq!(text, made.to_swf());
    let trace = swf(&text).unwrap();
    let n_skipped: u64 = trace.skipped.values().sum();
    assert_eq!(trace.jobs.len() as u64 + n_skipped, 500);
    assert!(trace.skipped.len() == 2 && trace.processors == Some(128));
    assert_ne!(text, Synthetic { seed: 8, ..made }.to_swf());
}
