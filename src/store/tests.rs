//! Stores compared with the plainest one: whatever facts they are told, they give the same back.

use proptest::prelude::*;

use super::memory::MemoryStore;
use super::reader::{Reader, TaskFilter};
use super::sim::{Choice, INBOXES, N_KINDS, QUEUES, Sim};
use super::{Store, sqlite};
use crate::access::{Pattern, Queues};
use crate::engine::{AttemptId, Fact, TaskId, TaskState};

fn recovered(store: &mut dyn Store) -> Vec<String> {
    let mut facts = Vec::new();
    store
        .recover(&mut |fact| facts.push(format!("{fact:?}")))
        .unwrap();
    facts
}

/// All that readers tell, in words.
fn read(reader: &dyn Reader, next_id: u64, page: usize) -> Vec<String> {
    let mut told = Vec::new();
    for id in 0..=next_id {
        told.push(format!("find {id}: {:?}", reader.find(TaskId(id)).unwrap()));
        for number in 1..4 {
            let attempt = AttemptId {
                task: TaskId(id),
                number,
            };
            let is_wanted = reader.is_value_wanted(attempt).unwrap();
            told.push(format!("value {attempt}: {is_wanted}"));
        }
    }
    for inbox in INBOXES {
        for (limit, visible) in [
            (page, None),
            (usize::MAX, None),
            (page, Some(some_queues())),
        ] {
            for mut delivery in reader.inbox(inbox, visible.as_ref(), limit).unwrap() {
                // What attempts beside the delivered one did later may show or not.
                delivery.record.attempts.clear();
                told.push(format!("{inbox} {limit}: {delivery:?}"));
            }
        }
        for upto in [0, 2, u64::MAX >> 1] {
            let numbers = reader.deliveries_until(inbox, &some_queues(), upto, page);
            told.push(format!("{inbox} {upto}: {numbers:?}"));
        }
    }
    told.push(format!("{:?} {:?}", reader.inboxes(1), reader.inboxes(9)));
    let some_states = [
        vec![],
        vec![TaskState::Queued],
        vec![TaskState::Waiting, TaskState::Running],
        vec![
            TaskState::Succeeded,
            TaskState::Queued,
            TaskState::Cancelled,
        ],
    ];
    let queues = QUEUES
        .into_iter()
        .chain(["map", "none"])
        .map(Some)
        .chain([None]);
    for queue in queues {
        let visible = [None, Some(some_queues()), Some(Queues::default())];
        for ((states, search), visible) in some_states
            .iter()
            .flat_map(|states| SEARCHES.map(|search| (states, search)))
            .flat_map(|asked| visible.clone().map(|visible| (asked, visible)))
        {
            for newest in [false, true] {
                tell_pages(
                    &mut told,
                    reader,
                    TaskFilter {
                        visible: visible.clone(),
                        queue: queue.map(str::to_owned),
                        states: states.clone(),
                        search: search.map(str::to_owned),
                        newest,
                        after: None,
                        limit: page,
                    },
                );
            }
        }
    }
    told
}

/// A queue, and what is below another.
fn some_queues() -> Queues {
    let patterns = [Pattern::One("search".into()), Pattern::Below("maps".into())];
    Queues::new(patterns)
}

/// All pages of a list.
fn tell_pages(told: &mut Vec<String>, reader: &dyn Reader, mut filter: TaskFilter) {
    loop {
        let records = reader.list(&filter).unwrap();
        told.push(format!("{filter:?}: {records:?}"));
        match records.last() {
            Some(last) if records.len() == filter.limit => filter.after = Some(last.task),
            _ => return,
        }
    }
}

/// Of names, of keys, and of neither.
const SEARCHES: [Option<&str>; 4] = [None, Some("Tile 2"), Some("KEY"), Some("nothing")];

fn assert_same(left: &[String], right: &[String]) {
    for (left, right) in left.iter().zip(right) {
        assert_eq!(left, right);
    }
    assert_eq!(left.len(), right.len());
}

fn choices() -> impl Strategy<Value = Vec<Choice>> {
    prop::collection::vec((0..N_KINDS, any::<u16>()), 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn sqlite_keeps_what_memory_keeps(choices in choices(), batch in 1..10_usize, page in 1..9_usize) {
        let directory = tempfile::tempdir().unwrap();
        let (mut store, mut reader) = sqlite::open(directory.path()).unwrap();
        let mut memory = MemoryStore::default();
        let mut sim = Sim::default();
        let facts: Vec<Vec<Fact>> = choices.into_iter().map(|choice| sim.act(choice)).collect();
        for (n, batch) in facts.chunks(batch).enumerate() {
            let facts = batch.concat();
            memory.commit(&facts).unwrap();
            store.commit(&facts).unwrap();
            if n % 7 == 3 {
                // As after a restart.
                drop((store, reader));
                (store, reader) = sqlite::open(directory.path()).unwrap();
            }
            assert_same(&recovered(&mut store), &recovered(&mut memory));
        }
        assert_same(&read(&reader, sim.next_id, page), &read(&memory, sim.next_id, page));
        for id in 0..=sim.next_id {
            let found = store.find_ended(TaskId(id)).unwrap();
            let expected = memory.find_ended(TaskId(id)).unwrap();
            prop_assert_eq!(format!("{found:?}"), format!("{expected:?}"));
        }
    }
}
