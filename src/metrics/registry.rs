//! One registry of the exporter, filled through the catalogue only.

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder, SharedString};
use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

use super::catalogue::{ALL, Kind, Metric};

/// What the exporter wants to know of whoever records; it makes no use of it.
const METADATA: Metadata<'static> = Metadata::new("apportion", Level::INFO, None);

/// A registry of its own, so that several live side by side, in tests and for what is shown only once.
pub(super) struct Registry {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
}

impl Registry {
    /// An empty one that knows every metric's help and bounds.
    pub(super) fn new() -> Self {
        let builder = ALL
            .iter()
            .fold(PrometheusBuilder::new(), |builder, metric| {
                match metric.kind {
                    Kind::Histogram(bounds) => builder
                        .set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), bounds)
                        .expect("every histogram of the catalogue has bounds"),
                    Kind::Counter | Kind::Gauge => builder,
                }
            });
        let recorder = builder.build_recorder();
        for metric in ALL {
            let help = SharedString::const_str(metric.help);
            match metric.kind {
                Kind::Counter => recorder.describe_counter(metric.name.into(), None, help),
                Kind::Gauge => recorder.describe_gauge(metric.name.into(), None, help),
                Kind::Histogram(_) => recorder.describe_histogram(metric.name.into(), None, help),
            }
        }
        let handle = recorder.handle();
        Self { recorder, handle }
    }

    /// The counter with these labels.
    pub(super) fn counter(&self, metric: &Metric, labels: &[&str]) -> Counter {
        assert_eq!(metric.kind, Kind::Counter, "{}", metric.name);
        self.recorder
            .register_counter(&key(metric, labels), &METADATA)
    }

    /// The gauge with these labels.
    pub(super) fn gauge(&self, metric: &Metric, labels: &[&str]) -> Gauge {
        assert_eq!(metric.kind, Kind::Gauge, "{}", metric.name);
        self.recorder
            .register_gauge(&key(metric, labels), &METADATA)
    }

    /// The histogram with these labels.
    pub(super) fn histogram(&self, metric: &Metric, labels: &[&str]) -> Histogram {
        assert!(matches!(metric.kind, Kind::Histogram(_)), "{}", metric.name);
        self.recorder
            .register_histogram(&key(metric, labels), &METADATA)
    }

    /// Sums up what histograms have observed, which the exporter keeps one by one until then.
    pub(super) fn sum_up(&self) {
        self.handle.run_upkeep();
    }

    /// All series in Prometheus' text format, in order of metrics and of labels. The exporter gives them as
    /// its hash maps do, which nobody can read twice.
    pub(super) fn render(&self) -> String {
        let page = self.handle.render();
        let mut families: Vec<Family<'_>> = Vec::new();
        for line in page.lines().filter(|line| !line.is_empty()) {
            match families.last_mut() {
                // The exporter writes the help of each metric first.
                Some(family) if !line.starts_with("# HELP ") => family.push(line),
                _ => families.push(vec![line]),
            }
        }
        families.sort_unstable();
        let mut ordered = String::with_capacity(page.len());
        for family in &mut families {
            // A histogram's lines of one series stay in their order: the sort is stable.
            family.sort_by_key(|line| series(line));
            for line in family {
                ordered.push_str(line);
                ordered.push('\n');
            }
        }
        ordered
    }
}

/// The lines of one metric, its help first.
type Family<'a> = Vec<&'a str>;

/// What tells the series of a metric apart: its labels without a bucket's bound. Empty for comments.
fn series(line: &str) -> &str {
    let labels = match line.split_once('{') {
        Some((_, labels)) if !line.starts_with('#') => labels,
        _ => return "",
    };
    let end = labels.find("le=\"").or_else(|| labels.rfind('}'));
    labels[..end.unwrap_or(labels.len())].trim_end_matches(',')
}

fn key(metric: &Metric, values: &[&str]) -> Key {
    assert_eq!(
        metric.labels.len(),
        values.len(),
        "{} has other labels",
        metric.name
    );
    let labels: Vec<Label> = (metric.labels.iter().zip(values))
        .map(|(name, value)| Label::new(*name, (*value).to_owned()))
        .collect();
    Key::from_parts(metric.name, labels)
}
