//! Seeds that must pass, and defects that must be found.

use super::*;

/// So many seeds are tried in each run of the tests.
const SEEDS: u64 = 2000;

#[test]
fn whatever_fails_nothing_is_lost_and_nothing_runs_twice() {
    let tried = hunt(0, SEEDS, &|seed| Trial::new(seed, STEPS), &mut |_| ());
    if let Some(failure) = tried.failure {
        panic!("{failure}");
    }
}

#[test]
fn a_world_follows_from_its_seed() {
    for seed in [3, 4] {
        let trial = Trial::new(seed, STEPS);
        let (one, other) = (trial.run(false), trial.run(true));
        assert_eq!((one.digest, one.n_steps), (other.digest, other.n_steps));
        assert!(one.history.is_empty() && !other.history.is_empty());
    }
}

/// The first seed that finds a defect.
fn finds(defect: Defect, backend: BackendKind) -> Option<Box<Failure>> {
    let trial = |seed| {
        let place = if backend == BackendKind::Local { 3 } else { 0 };
        Trial::new(seed * 4 + place, STEPS).with(defect)
    };
    hunt(0, SEEDS / 4, &trial, &mut |_| ()).failure
}

/// What is tested can fail: each of these defects around the product is found within those seeds.
#[test]
fn defects_are_found() {
    use BackendKind::{Local, Mesos};
    let all = [
        (Defect::HalfABatchIsKept, Mesos),
        (Defect::HalfABatchIsKept, Local),
        (Defect::CommitsAreForgotten, Mesos),
        (Defect::CommitsAreForgotten, Local),
        (Defect::AttemptsAreForgotten, Mesos),
        (Defect::StatusesAreAcknowledgedAtOnce, Mesos),
        (Defect::DecisionsAreRepeated, Mesos),
        (Defect::DecisionsAreRepeated, Local),
        (Defect::SubscriptionsAreNotReconciled, Mesos),
        (Defect::OffersOutliveTheirSubscription, Mesos),
        (Defect::UnreachableIsLost, Mesos),
        (Defect::EarlyAnswersAreBelieved, Mesos),
        (Defect::RetriesAreReadTooEarly, Mesos),
        (Defect::RetriesAreReadTooEarly, Local),
    ];
    for (defect, backend) in all {
        let failure = finds(defect, backend);
        let failure = failure.unwrap_or_else(|| panic!("{defect:?} is not found on {backend:?}"));
        assert!(!failure.history.is_empty(), "{defect:?}");
    }
}

/// The same on the daemon's own database, of which crashes leave any part of a batch.
#[test]
fn a_batch_of_which_a_part_is_written_is_there_wholly_or_not_at_all() {
    let trial = |seed| Trial::new(seed, STEPS).on_files(true);
    if let Some(failure) = hunt(0, 20, &trial, &mut |_| ()).failure {
        panic!("{failure}");
    }
    let half = |seed| trial(seed).with(Defect::HalfABatchIsKept);
    let failure = hunt(0, 100, &half, &mut |_| ()).failure;
    let failure = failure.expect("half a batch is found");
    assert!(failure.violation.contains("a part of a batch"), "{failure}");
}
