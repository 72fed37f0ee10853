//! The report as one page that needs nothing else: no script, no font, no image from anywhere.

use std::fmt::Write;
use std::time::Duration;

use apportion_policies::Amount;
use plotters::style::RGBColor;

use super::plot::{self, Line, NARROW, TimeAxis, WIDE};
use super::{PolicyReport, QueueStats, Report, Spread};

/// So many queues are plotted and told of one by one; the others are told of together.
const QUEUES_MAX: usize = 8;

const STYLE: &str = "\
:root { color-scheme: light dark; --ground: #fbfbfa; --ink: #1d2126; --faint: #6a7280; --line: #d9dce1; --card: #ffffff; --good: #0d7a4f; }
@media (prefers-color-scheme: dark) { :root { --ground: #14171a; --ink: #e4e7eb; --faint: #98a1ad; --line: #333a42; --card: #1b1f24; --good: #4cc38a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1120px; padding: 24px 20px 60px; background: var(--ground); color: var(--ink); font: 15px/1.45 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 36px 0 4px; }
h3 { font-size: 1rem; margin: 18px 0 6px; overflow-wrap: anywhere; }
p { margin: 4px 0 12px; color: var(--faint); max-width: 75ch; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 8px; background: var(--card); }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 12px; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th { color: var(--faint); font-weight: 500; font-size: 0.85rem; white-space: normal; vertical-align: bottom; }
h3 small { font-weight: 400; color: var(--faint); }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: var(--card); }
tr:last-child td { border-bottom: 0; }
td.best { color: var(--good); font-weight: 600; }
.plot { border: 1px solid var(--line); border-radius: 8px; background: var(--card); padding: 6px; }
.plot svg { display: block; width: 100%; height: auto; }
.narrow { display: none; }
.grid { display: grid; gap: 10px; grid-template-columns: repeat(auto-fit, minmax(260px, 1fr)); }
.grid figure { margin: 0; border: 1px solid var(--line); border-radius: 8px; background: var(--card); padding: 6px 6px 2px; }
.grid svg { display: block; width: 100%; height: auto; }
figcaption { display: flex; justify-content: space-between; gap: 8px; font-size: 0.85rem; padding: 0 6px; }
figcaption span { color: var(--faint); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 6px 0 8px; font-size: 0.9rem; }
.legend i { display: inline-block; width: 22px; height: 0; border-top: 3px solid; vertical-align: middle; margin-right: 6px; }
.legend i.area { height: 12px; border: 0; opacity: 0.45; }
@media (max-width: 700px) { body { padding: 16px 12px 40px; } .wide { display: none; } .narrow { display: block; } th, td { padding: 6px 8px; } }
";

/// A figure of a policy, the less the better, and how it is shown.
type Compared = (fn(&PolicyReport) -> f64, fn(f64) -> String);

/// By what policies are compared. What looks alike is equally good.
const COMPARED: [Compared; 7] = [
    (|it| it.all.wait.mean, duration),
    (|it| it.all.wait.median, duration),
    (|it| it.all.wait.p95, duration),
    (|it| it.all.wait.worst, duration),
    (|it| it.all.slowdown.mean, times),
    (|it| it.all.slowdown.p95, times),
    (|it| it.fairness_error.0, percent),
];

impl Report {
    /// The page. The same report gives the same bytes.
    #[must_use]
    pub fn to_html(&self) -> String {
        let mut page = String::new();
        let title = escaped(&self.title);
        page.push_str("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
        page.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
        put(&mut page, format_args!("<title>{title}: replay</title>\n"));
        put(
            &mut page,
            format_args!("<style>\n{STYLE}</style>\n</head>\n<body>\n"),
        );
        put(&mut page, format_args!("<h1>Replay of {title}</h1>\n"));
        self.put_facts(&mut page);
        self.put_summary(&mut page);
        self.put_shares(&mut page);
        self.put_queues(&mut page);
        self.put_over_time(&mut page);
        page.push_str("</body>\n</html>\n");
        page
    }

    fn time(&self) -> TimeAxis {
        TimeAxis::new(self.piece * super::N_PIECES as u64)
    }

    fn put_facts(&self, page: &mut String) {
        let totals = self.totals.iter();
        let totals: Vec<String> = totals
            .map(|(name, amount)| total(&escaped(name), *amount))
            .collect();
        let agents = match self.n_agents {
            1 => "one agent".to_owned(),
            count => format!("{count} agents"),
        };
        put(
            page,
            format_args!(
                "<p>{} jobs on {agents} with {} in all.",
                self.n_jobs,
                totals.join(", ")
            ),
        );
        for (reason, count) in &self.skipped {
            put(page, format_args!(" Left out: {count} that {reason}."));
        }
        page.push_str("</p>\n");
    }

    fn put_summary(&self, page: &mut String) {
        page.push_str("<h2>Policies beside one another</h2>\n<p>Waits are from submission to start. Slowdown is bounded: wait and run time over run time, of which at least 10 s. The fairness error is the largest difference between what a queue used and what it was due, among queues with work.</p>\n");
        page.push_str("<div class=\"scroll\"><table>\n<tr><th>policy</th><th>mean wait</th><th>median</th><th>95th</th><th>worst</th><th>mean slowdown</th><th>95th</th><th>fairness error</th>");
        for (name, _) in &self.totals {
            put(page, format_args!("<th>{} used</th>", escaped(name)));
        }
        page.push_str("<th>ended after</th><th>never ran</th></tr>\n");
        let best = COMPARED.map(|(number, shown)| self.best(number, shown));
        for policy in &self.policies {
            put(
                page,
                format_args!("<tr><td>{}</td>", escaped(&policy.policy)),
            );
            for ((number, shown), best) in COMPARED.iter().zip(&best) {
                let shown = shown(number(policy));
                let is_best = best.as_ref() == Some(&shown);
                let class = if is_best { " class=\"best\"" } else { "" };
                put(page, format_args!("<td{class}>{shown}</td>"));
            }
            for used in &policy.utilisation {
                put(page, format_args!("<td>{}</td>", percent(*used)));
            }
            let refused: u64 = policy.refused.values().sum();
            put(
                page,
                format_args!(
                    "<td>{}</td><td>{}</td></tr>\n",
                    duration(policy.ended as f64 / 1000.0),
                    policy.n_never as u64 + refused
                ),
            );
        }
        page.push_str("</table></div>\n");
    }

    /// The least number of a column, as it is shown; `None` where all policies show the same.
    fn best(&self, number: fn(&PolicyReport) -> f64, shown: fn(f64) -> String) -> Option<String> {
        let numbers = || self.policies.iter().map(number);
        let best = shown(numbers().fold(f64::INFINITY, f64::min));
        numbers().any(|it| shown(it) != best).then_some(best)
    }

    /// The queues of the first policy that used most; the order of all plots.
    fn plotted(&self) -> Vec<&QueueStats> {
        let first = self.policies.first();
        first.map_or_else(Vec::new, |it| it.queues.iter().take(QUEUES_MAX).collect())
    }

    fn put_shares(&self, page: &mut String) {
        page.push_str("<h2>What each queue used, and what it was due</h2>\n<p>Dominant shares over time: the largest part of any resource that the queue held. Where the area is below the line the queue had less than it was due; above, it used what others did not want.</p>\n");
        put(
            page,
            format_args!(
                "<div class=\"legend\"><span><i class=\"area\" style=\"background: {}\"></i>used</span><span><i style=\"border-color: currentColor; border-top-width: 1px\"></i>due</span></div>\n",
                hex(plot::COLOURS[0])
            ),
        );
        let time = self.time();
        for shown in self.plotted() {
            let same = |policy: &PolicyReport| {
                policy
                    .queues
                    .iter()
                    .find(|queue| queue.path == shown.path)
                    .cloned()
            };
            let all: Vec<(usize, QueueStats)> = self
                .policies
                .iter()
                .enumerate()
                .filter_map(|(place, policy)| Some((place, same(policy)?)))
                .collect();
            let numbers = all
                .iter()
                .flat_map(|(_, it)| it.share.iter().chain(&it.entitlement));
            let top = numbers.copied().fold(0.0, f64::max);
            put(
                page,
                format_args!(
                    "<h3>{} <small>weight {}</small></h3>\n<div class=\"grid\">\n",
                    escaped(&shown.path),
                    shown.weight
                ),
            );
            for (place, queue) in &all {
                let colour = plot::COLOURS[place % plot::COLOURS.len()];
                let svg = plot::share_and_due(&queue.share, &queue.entitlement, top, colour, &time);
                put(
                    page,
                    format_args!(
                        "<figure><figcaption>{} <span>used {} of {} due</span></figcaption>{svg}</figure>\n",
                        escaped(&self.policies[*place].policy),
                        percent(queue.mean_share),
                        percent(queue.mean_entitlement)
                    ),
                );
            }
            page.push_str("</div>\n");
        }
        let n_others = self.policies.first().map_or(0, |it| it.queues.len());
        if n_others > QUEUES_MAX {
            let n_others = n_others - QUEUES_MAX;
            put(
                page,
                format_args!(
                    "<p>{n_others} queues that used less are not plotted; the JSON report has all.</p>\n"
                ),
            );
        }
    }

    fn put_queues(&self, page: &mut String) {
        page.push_str("<h2>Waits and slowdowns by queue</h2>\n");
        for policy in &self.policies {
            put(page, format_args!("<h3>{}</h3>\n", escaped(&policy.policy)));
            page.push_str("<div class=\"scroll\"><table>\n<tr><th>queue</th><th>jobs</th><th>wait, median</th><th>95th</th><th>worst</th><th>slowdown, median</th><th>95th</th><th>worst</th><th>used</th><th>due</th></tr>\n");
            for shown in self.plotted() {
                let same = policy.queues.iter().find(|it| it.path == shown.path);
                if let Some(queue) = same {
                    put_queue(page, queue);
                }
            }
            page.push_str("</table></div>\n");
        }
    }

    fn put_over_time(&self, page: &mut String) {
        let time = self.time();
        let plot = |page: &mut String, numbers: &dyn Fn(&PolicyReport) -> &[f64]| {
            let lines: Vec<Line<'_>> = self
                .policies
                .iter()
                .enumerate()
                .map(|(place, policy)| Line {
                    numbers: numbers(policy),
                    colour: plot::COLOURS[place % plot::COLOURS.len()],
                })
                .collect();
            page.push_str("<div class=\"legend\">");
            for (place, policy) in self.policies.iter().enumerate() {
                let colour = hex(plot::COLOURS[place % plot::COLOURS.len()]);
                let name = escaped(&policy.policy);
                put(
                    page,
                    format_args!("<span><i style=\"border-color: {colour}\"></i>{name}</span>"),
                );
            }
            let (wide, narrow) = (
                plot::lines(&lines, &time, WIDE),
                plot::lines(&lines, &time, NARROW),
            );
            put(
                page,
                format_args!(
                    "</div>\n<div class=\"plot\"><div class=\"wide\">{wide}</div><div class=\"narrow\">{narrow}</div></div>\n"
                ),
            );
        };
        page.push_str("<h2>Fairness error over time</h2>\n");
        plot(page, &|policy| &policy.errors);
        for (place, (name, _)) in self.totals.iter().enumerate() {
            put(
                page,
                format_args!("<h2>Utilisation of {}</h2>\n", escaped(name)),
            );
            plot(page, &|policy| &policy.used[place]);
        }
    }
}

fn put_queue(page: &mut String, queue: &QueueStats) {
    let stats = &queue.jobs;
    put(
        page,
        format_args!(
            "<tr><td>{}</td><td>{}</td>",
            escaped(&queue.path),
            stats.n_jobs
        ),
    );
    let cells = |page: &mut String, spread: &Spread, shown: fn(f64) -> String| {
        for number in [spread.median, spread.p95, spread.worst] {
            put(page, format_args!("<td>{}</td>", shown(number)));
        }
    };
    cells(page, &stats.wait, duration);
    cells(page, &stats.slowdown, times);
    put(
        page,
        format_args!(
            "<td>{}</td><td>{}</td></tr>\n",
            percent(queue.mean_share),
            percent(queue.mean_entitlement)
        ),
    );
}

/// `240 cpus`, and memory in GiB.
fn total(name: &str, amount: Amount) -> String {
    match name {
        "mem" | "disk" => format!("{:.0} GiB of {name}", amount.milli() as f64 / 1_024_000.0),
        _ => format!("{amount} {name}"),
    }
}

fn put(page: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing into a string can't fail.
    let _ = page.write_fmt(text);
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

fn hex(colour: RGBColor) -> String {
    format!("#{:02x}{:02x}{:02x}", colour.0, colour.1, colour.2)
}

fn times(number: f64) -> String {
    format!("{number:.1}")
}

fn percent(part: f64) -> String {
    format!("{:.1}%", part * 100.0)
}

/// `0s`, `35s`, `2m 5s`, `3h 20m`, `4d 2h`.
fn duration(seconds: f64) -> String {
    let whole = Duration::try_from_secs_f64(seconds)
        .unwrap_or_default()
        .as_secs();
    match whole {
        0..60 => format!("{whole}s"),
        60..3600 => format!("{}m {}s", whole / 60, whole % 60),
        3600..86_400 => format!("{}h {}m", whole / 3600, whole / 60 % 60),
        _ => format!("{}d {}h", whole / 86_400, whole / 3600 % 24),
    }
}
