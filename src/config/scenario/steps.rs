//! The steps of a scenario.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::expect::checks;
use super::{Reader, Step, agent, amounts, cluster_amounts, policy, queues, span};
use crate::config::errors::Problem;
use crate::config::sections::unknown_name;
use crate::config::walk::{Field, Report, Section};
use crate::engine::request::{After, NewTask};
use crate::engine::settings::Scope;
use crate::engine::spec::{Run, TaskSpec};
use crate::sim::scenario::{Action, End, Pick};

/// The kinds of steps; each step has exactly one of these keys.
const KINDS: [&str; 11] = [
    "submit",
    "offer",
    "expect",
    "finish",
    "advance",
    "outside",
    "cancel",
    "reload",
    "agent",
    "agent_lost",
    "repeat",
];

/// More of the same is more than anyone reads.
const COUNT_MAX: u64 = 1_000_000;

impl Reader {
    /// Reads an array of steps; `prefix` is the number of the step that they are within.
    pub(super) fn steps(
        &mut self,
        field: &Field<'_>,
        prefix: &str,
        report: &mut Report<'_>,
    ) -> Vec<Step> {
        let mut steps = Vec::new();
        for (place, item) in field.items(report).unwrap_or_default().iter().enumerate() {
            let number = format!("{prefix}{}", place + 1);
            let Some(section) = item.section(report) else {
                continue;
            };
            section.refuse_others(&KINDS, &[], report);
            let fields = section.fields();
            let kinds = fields.iter().filter(|field| KINDS.contains(&field.name));
            let kinds: Vec<&Field<'_>> = kinds.collect();
            let [kind] = kinds[..] else {
                let what = format!(
                    "a step has exactly one of {}; this one has {}",
                    KINDS.join(", "),
                    kinds.len()
                );
                item.report_key(report, Problem::Conflict(what));
                continue;
            };
            let line = kind.line(report);
            if let Some(action) = self.action(kind, &number, report) {
                steps.push(Step {
                    number,
                    line,
                    action,
                });
            }
        }
        steps
    }

    fn action(
        &mut self,
        field: &Field<'_>,
        number: &str,
        report: &mut Report<'_>,
    ) -> Option<Action> {
        match field.name {
            "submit" => self.submit(&field.section(report)?, report),
            "offer" => self.offer(field, report).map(Action::Offer),
            "expect" => checks(&field.section(report)?, &self.settings, report).map(Action::Expect),
            "finish" => {
                let section = field.section(report)?;
                let end = end(&section, report)?;
                let known = ["queue", "name", "agent", "count", "outcome"];
                let mut pick = pick(&section, &known, report)?;
                if section.get("count").is_none() {
                    pick.count = Some(1);
                }
                Some(Action::Finish { pick, end })
            }
            "advance" => span(Some(field), report).map(Action::Advance),
            "outside" => {
                let section = field.section(report)?;
                let amounts = cluster_amounts(&section, &self.settings, report);
                Some(Action::Outside(amounts))
            }
            "cancel" => {
                let section = field.section(report)?;
                let pick = pick(&section, &["queue", "name", "agent", "count"], report)?;
                Some(Action::Cancel(pick))
            }
            "reload" => self.reload(&field.section(report)?, report),
            "agent" => self.agent(&field.section(report)?, report),
            "agent_lost" => Some(Action::AgentLost(self.known_agent(field, report)?)),
            _ => self.repeat(&field.section(report)?, number, report),
        }
    }

    fn submit(&self, section: &Section<'_>, report: &mut Report<'_>) -> Option<Action> {
        let known = [
            "queue",
            "count",
            "demand",
            "priority",
            "constraints",
            "name",
            "key",
            "after",
            "retries",
            "timeout",
            "run_time",
        ];
        section.refuse_others(&known, &[], report);
        let text = |name: &str, report: &mut Report<'_>| {
            let field = section.get(name);
            field.and_then(|field| field.string(report))
        };
        let Some(queue) = section.get("queue") else {
            section.report_missing(
                "queue",
                "the queue's path, such as queue = \"maps\"",
                report,
            );
            return None;
        };
        let demand = match section.get("demand") {
            Some(field) => amounts(&field.section(report)?, &self.settings.resources, report),
            None => BTreeMap::from([("cpus".into(), "1".parse().unwrap_or_default())]),
        };
        let mut constraints = BTreeMap::new();
        if let Some(field) = section.get("constraints") {
            for field in field.section(report)?.fields() {
                let value = field.string(report)?;
                constraints.insert(field.name.into(), value.into());
            }
        }
        let after = section.get("after");
        let after = after.and_then(|field| field.strings(report));
        let priority = section.get("priority");
        let retries = section.get("retries");
        let retries = retries.and_then(|field| field.whole(0..=u64::from(u32::MAX), report));
        let spec = TaskSpec {
            queue: queue.string(report)?.into(),
            name: text("name", report).unwrap_or_default().into(),
            key: text("key", report).map(Into::into),
            inbox: None,
            demand: Arc::new(demand.into_iter().filter(|(_, it)| !it.is_zero()).collect()),
            run: Run::Command("".into()),
            env: BTreeMap::new(),
            priority: priority.and_then(|field| field.signed(report)).unwrap_or(0),
            retries: retries.and_then(|it| it.try_into().ok()).unwrap_or(0),
            timeout: span(section.get("timeout").as_ref(), report),
            kill_grace: None,
            constraints: Arc::new(constraints),
            array: None,
        };
        let after = after.unwrap_or_default().into_iter();
        let task = NewTask {
            spec,
            after: after.map(|key| After::Key(key.into())).collect(),
            digest: [0; 16],
        };
        let count = section.get("count");
        let count = count.and_then(|field| field.whole(1..=COUNT_MAX, report));
        Some(Action::Submit {
            task: Box::new(task),
            count: count.and_then(|it| it.try_into().ok()).unwrap_or(1),
            run_time: span(section.get("run_time").as_ref(), report),
        })
    }

    /// `"all"`, or names of agents; `None` within for all.
    #[allow(
        clippy::option_option,
        reason = "an error, all agents, or some of them"
    )]
    fn offer(&self, field: &Field<'_>, report: &mut Report<'_>) -> Option<Option<Vec<Arc<str>>>> {
        if !field.is_array() {
            let word = field.string(report)?;
            if word == "all" {
                return Some(None);
            }
            let what = "write \"all\", or a list of agents such as [\"m1\"]";
            field.report(report, Problem::Conflict(what.into()));
            return None;
        }
        let items = field.items(report)?;
        let names = items.iter().map(|item| self.known_agent(item, report));
        let names: Vec<Option<Arc<str>>> = names.collect();
        Some(Some(names.into_iter().collect::<Option<_>>()?))
    }

    fn known_agent(&self, field: &Field<'_>, report: &mut Report<'_>) -> Option<Arc<str>> {
        let name = field.string(report)?;
        if let Some((known, _)) = self.agents.get_key_value(name) {
            return Some(Arc::clone(known));
        }
        let known: Vec<&str> = self.agents.keys().map(|name| &**name).collect();
        field.report(report, unknown_name("agent", name, &known));
        None
    }

    /// An agent that is known returns as it was, but for what is named here.
    fn agent(&mut self, section: &Section<'_>, report: &mut Report<'_>) -> Option<Action> {
        let name = section.get("name").and_then(|field| field.string(report));
        let base = name.and_then(|name| self.agents.get(name));
        let agent = agent(section, base, &self.settings, report)?;
        if section.names() == ["name"] {
            return Some(Action::AgentReturns(agent.name));
        }
        self.agents.insert(Arc::clone(&agent.name), agent.clone());
        Some(Action::Agent(agent))
    }

    /// What a reload names changes; everything else stays.
    fn reload(&mut self, section: &Section<'_>, report: &mut Report<'_>) -> Option<Action> {
        section.refuse_others(&["queues", "remove", "policy", "capacity"], &[], report);
        let settings = &mut self.settings;
        if let Some(field) = section.get("capacity") {
            let capacities = cluster_amounts(&field.section(report)?, settings, report);
            for resource in &mut settings.resources {
                if let Some(capacity) = capacities.get(&resource.name).copied() {
                    resource.scope = Scope::Cluster { capacity };
                }
            }
        }
        if let Some(field) = section.get("policy") {
            settings.policy = policy::policy(&field, &settings.resources, report)?;
        }
        if let Some(field) = section.get("remove") {
            let removed = field.strings(report)?;
            settings.queues.retain(|it| !removed.contains(&&*it.path));
        }
        let queues = std::mem::take(&mut settings.queues);
        settings.queues = match section.get("queues") {
            Some(field) => queues::merge_list(queues, &field, &settings.resources, report),
            None => queues::in_order(queues),
        };
        Some(Action::Reload(Box::new(settings.clone())))
    }

    fn repeat(
        &mut self,
        section: &Section<'_>,
        number: &str,
        report: &mut Report<'_>,
    ) -> Option<Action> {
        section.refuse_others(&["times", "steps"], &[], report);
        let (Some(times), Some(steps)) = (section.get("times"), section.get("steps")) else {
            let example =
                "how often and what, such as { times = 3, steps = [{ offer = \"all\" }] }";
            section.report_missing("times", example, report);
            return None;
        };
        let times = times.whole(1..=COUNT_MAX, report)?;
        let steps = self.steps(&steps, &format!("{number}."), report);
        let times = times.try_into().ok()?;
        Some(Action::Repeat { times, steps })
    }
}

fn pick(section: &Section<'_>, known: &[&'static str], report: &mut Report<'_>) -> Option<Pick> {
    section.refuse_others(known, &[], report);
    let text = |name: &str, report: &mut Report<'_>| {
        let field = section.get(name);
        field.and_then(|field| field.string(report))
    };
    let mut pick = Pick {
        queue: text("queue", report).map(Into::into),
        name: text("name", report).map(Into::into),
        agent: text("agent", report).map(Into::into),
        count: None,
    };
    if let Some(field) = section.get("count") {
        match field.whole_or("all", 1..=COUNT_MAX, report)? {
            Some(count) => pick.count = Some(usize::try_from(count).unwrap_or(usize::MAX)),
            None => pick.count = None,
        }
    }
    Some(pick)
}

fn end(section: &Section<'_>, report: &mut Report<'_>) -> Option<End> {
    let Some(field) = section.get("outcome") else {
        return Some(End::Succeeded);
    };
    match field.string(report)? {
        "succeeded" => Some(End::Succeeded),
        "failed" => Some(End::Failed),
        "lost" => Some(End::Lost),
        other => {
            let problem = unknown_name("outcome", other, &["succeeded", "failed", "lost"]);
            field.report(report, problem);
            None
        }
    }
}
