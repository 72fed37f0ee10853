//! `apportion queues`: the queue tree and who uses what.

use std::collections::{BTreeMap, BTreeSet};

use super::output::table;
use super::wire::{Queue, Queues, State};
use super::{CliError, Context, exit, format};

/// Show the queue tree: weights, tasks, what is used, shares.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) async fn execute(_: &Args, context: &mut Context<'_, '_>) -> Result<u8, CliError> {
    let answer = context.client.get("/v1/queues", &[]).await?;
    if context.json {
        context.out.json(&answer)?;
        return Ok(exit::DONE);
    }
    let Queues { queues } = context.client.read(answer)?;
    let mut rows = table(&[
        "QUEUE", ">WEIGHT", ">WAITING", ">QUEUED", ">RUNNING", ">SHARE", ">DUE", "OF", "USED",
        "MAX", "REMARK",
    ]);
    let paths: Vec<&str> = queues.iter().map(|queue| queue.path.as_str()).collect();
    for (place, name) in in_tree_order(&paths) {
        rows.add_row(row(name, &queues[place]));
    }
    context.out.table(&mut rows)?;
    Ok(exit::DONE)
}

fn row(name: String, queue: &Queue) -> Vec<String> {
    let tasks = |states: &[State]| {
        let number = |state: &State| queue.tasks.get(state.as_str()).copied().unwrap_or(0);
        states.iter().map(number).sum::<u64>().to_string()
    };
    let remark = match queue.n_unsatisfiable {
        0 if queue.is_leaf => String::new(),
        0 => queue.policy.clone(),
        number => format!(
            "{} can never run as things are",
            format::count(number, "task")
        ),
    };
    vec![
        name,
        queue.weight.to_string(),
        tasks(&[State::Waiting]),
        tasks(&[State::Queued]),
        tasks(&[State::Launching, State::Running, State::Cancelling]),
        format!("{:.1}%", queue.dominant_share.decimal * 100.0),
        format!("{:.1}%", queue.entitlement.decimal * 100.0),
        format::or_dash(queue.dominant_resource.clone().unwrap_or_default()),
        format::amounts(&queue.used),
        format::limits(&queue.max),
        remark,
    ]
}

/// The paths as a tree, children below their parents and otherwise in the order given: for each the place
/// among the paths, and what its path has beyond that of its parent, indented. Whose parent isn't there, since it may
/// not be seen, stands below the nearest that is. The root, whose path is empty, is left out.
pub(super) fn in_tree_order(paths: &[&str]) -> Vec<(usize, String)> {
    let shown: BTreeSet<&str> = paths.iter().copied().collect();
    let parent_of = |path: &str| {
        let mut ends = path.rmatch_indices('/').map(|(end, _)| end);
        ends.find(|end| shown.contains(&path[..*end])).unwrap_or(0)
    };
    let mut children: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (place, path) in paths
        .iter()
        .enumerate()
        .filter(|(_, path)| !path.is_empty())
    {
        children
            .entry(&path[..parent_of(path)])
            .or_default()
            .push(place);
    }
    let mut order = Vec::with_capacity(paths.len());
    let mut stack: Vec<usize> = children
        .remove("")
        .unwrap_or_default()
        .into_iter()
        .rev()
        .collect();
    let mut depths: BTreeMap<&str, usize> = BTreeMap::new();
    while let Some(place) = stack.pop() {
        let path = paths[place];
        let parent = &path[..parent_of(path)];
        let depth = depths.get(parent).map_or(0, |above| above + 1);
        depths.insert(path, depth);
        let name = path[parent.len()..].trim_start_matches('/');
        order.push((place, format!("{:indent$}{name}", "", indent = 2 * depth)));
        stack.extend(children.remove(path).unwrap_or_default().into_iter().rev());
    }
    order
}
