//! What pods said of themselves on their metrics pages, and how autoscalers ask for it. Pure: no HTTP, no clock.

use std::collections::{BTreeMap, HashMap};

use apimachinery::Key;
use apimachinery::quantity::Quantity;
use apimachinery::selector::LabelSelector;
use jiff::Timestamp;
use protocol::scrape::Page;
use serde_json::{Map, Value, json};

/// Samples of one page that are kept; an engine has hundreds.
const MOST_SAMPLES: usize = 5_000;
/// How a counter's name ends. Its rate a second goes by the name without this, as with prometheus-adapter.
const COUNTER: &str = "_total";

/// One sample, or a counter's rate.
#[derive(Clone, Debug, PartialEq)]
struct Series {
    labels: Map<String, Value>,
    value: f64,
}

/// The last page of one pod.
#[derive(Clone, Debug)]
struct Reading {
    at: Timestamp,
    /// By metric.
    series: BTreeMap<String, Vec<Series>>,
}

/// A value that somebody asked for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Found {
    /// The pod's name.
    pub(crate) pod: String,
    /// Labels of the series; of a sum: none.
    pub(crate) labels: Map<String, Value>,
    /// In thousandths.
    pub(crate) milli: i64,
    /// When the pod said so.
    pub(crate) at: Timestamp,
}

/// The last pages of all pods.
#[derive(Debug, Default)]
pub(crate) struct Readings {
    pods: HashMap<Key, Reading>,
}

// === impl Found ===

impl Found {
    /// As the API writes it.
    pub(crate) fn quantity(&self) -> String {
        Quantity::of_milli(self.milli).to_string()
    }
}

// === impl Readings ===

impl Readings {
    /// Takes a pod's page in, in place of the one before.
    pub(crate) fn take(&mut self, pod: Key, page: &Page, at: Timestamp) {
        let before = self.pods.remove(&pod);
        let mut reading = Reading { at, series: BTreeMap::new() };
        // Buckets are most of a page, and nobody scales by one.
        let samples = page.samples.iter().filter(|sample| !sample.name.ends_with("_bucket"));
        for sample in samples.take(MOST_SAMPLES) {
            let labels = sample.labels.iter().map(|(name, value)| (name.clone(), json!(value)));
            let labels: Map<String, Value> = labels.collect();
            if let Some(name) = sample.name.strip_suffix(COUNTER)
                && let Some(value) = before
                    .as_ref()
                    .and_then(|before| before.rate(&sample.name, &labels, sample.value, at))
            {
                reading.add(name, Series { labels: labels.clone(), value });
            }
            reading.add(&sample.name, Series { labels, value: sample.value });
        }
        self.pods.insert(pod, reading);
    }

    /// Forgets all pods but these.
    pub(crate) fn retain(&mut self, is_there: impl Fn(&Key) -> bool) {
        self.pods.retain(|pod, _| is_there(pod));
    }

    /// A metric of each pod that has it, by name: the sum of its series that `labels` means.
    pub(crate) fn of_pods(
        &self,
        namespace: &str,
        metric: &str,
        labels: &LabelSelector,
    ) -> Vec<Found> {
        let mut all: Vec<Found> = self
            .within(namespace)
            .filter_map(|(pod, reading)| {
                let mut values = reading.meant(metric, labels).map(|one| one.value).peekable();
                values.peek()?;
                let milli = milli(values.sum());
                Some(Found { pod: pod.name.clone(), labels: Map::new(), milli, at: reading.at })
            })
            .collect();
        all.sort_by(|a, b| a.pod.cmp(&b.pod));
        all
    }

    /// Every series of a metric in a namespace. `pod` and `namespace` are labels, too.
    pub(crate) fn external(
        &self,
        namespace: &str,
        metric: &str,
        labels: &LabelSelector,
    ) -> Vec<Found> {
        let mut all = Vec::new();
        for (pod, reading) in self.within(namespace) {
            for one in reading.series.get(metric).into_iter().flatten() {
                let mut of_one = one.labels.clone();
                of_one.insert("pod".to_owned(), json!(pod.name));
                of_one.insert("namespace".to_owned(), json!(namespace));
                if labels.matches_map(&of_one) {
                    let (pod, milli) = (pod.name.clone(), milli(one.value));
                    all.push(Found { pod, labels: of_one, milli, at: reading.at });
                }
            }
        }
        all.sort_by(|a, b| a.pod.cmp(&b.pod));
        all
    }

    fn within<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = (&'a Key, &'a Reading)> {
        self.pods.iter().filter(move |(pod, _)| pod.namespace == namespace)
    }
}

// === impl Reading ===

impl Reading {
    fn add(&mut self, name: &str, series: Series) {
        if series.value.is_finite() {
            self.series.entry(name.to_owned()).or_default().push(series);
        }
    }

    fn meant<'a>(
        &'a self,
        metric: &str,
        labels: &'a LabelSelector,
    ) -> impl Iterator<Item = &'a Series> {
        let all = self.series.get(metric).into_iter().flatten();
        all.filter(|one| labels.matches_map(&one.labels))
    }

    /// How fast a counter has grown since, a second. None for one that is new, or began again.
    fn rate(
        &self,
        name: &str,
        labels: &Map<String, Value>,
        now: f64,
        at: Timestamp,
    ) -> Option<f64> {
        let before = self.series.get(name)?.iter().find(|one| one.labels == *labels)?.value;
        let seconds = at.duration_since(self.at).as_secs_f64();
        (now >= before && seconds > 0.0).then(|| (now - before) / seconds)
    }
}

/// Thousandths. What is beyond the numbers of the API is its largest.
fn milli(value: f64) -> i64 {
    (value * 1000.0).round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAITING: &str = "vllm:num_requests_waiting";

    fn readings(pages: &[(&str, i64, &str)]) -> Readings {
        let mut readings = Readings::default();
        for (pod, second, page) in pages {
            let at = Timestamp::from_second(*second).unwrap();
            readings.take(Key::namespaced("default", *pod), &Page::parse(page).unwrap(), at);
        }
        readings
    }

    fn values(found: &[Found]) -> Vec<(&str, i64)> {
        found.iter().map(|one| (one.pod.as_str(), one.milli)).collect()
    }

    #[test]
    fn series_of_a_pod_are_summed_and_a_selector_means_some_of_them() {
        let two = "vllm:num_requests_waiting{model=\"a\"} 3\nvllm:num_requests_waiting{model=\"b\"} 0.5\n";
        let readings = readings(&[
            ("x", 0, two),
            ("y", 0, "up 1\n"),
            ("z", 0, "vllm:num_requests_waiting 1\n"),
        ]);
        let all = readings.of_pods("default", WAITING, &LabelSelector::default());
        assert_eq!(values(&all), [("x", 3500), ("z", 1000)]);
        assert_eq!(all[0].quantity(), "3500m");
        let of_a = LabelSelector::parse("model=a").unwrap();
        assert_eq!(values(&readings.of_pods("default", WAITING, &of_a)), [("x", 3000)]);
        assert_eq!(readings.of_pods("other", WAITING, &LabelSelector::default()), []);
    }

    #[test]
    fn external_metrics_keep_their_labels_and_say_whose_they_are() {
        let readings = readings(&[
            ("x", 0, "queue{lane=\"a\"} 1\nqueue{lane=\"b\"} 2\n"),
            ("y", 0, "queue 4\n"),
        ]);
        let all = readings.external("default", "queue", &LabelSelector::default());
        assert_eq!(values(&all), [("x", 1000), ("x", 2000), ("y", 4000)]);
        assert_eq!(all[1].labels["lane"], "b");
        let of_y = LabelSelector::parse("pod=y").unwrap();
        assert_eq!(values(&readings.external("default", "queue", &of_y)), [("y", 4000)]);
    }

    #[test]
    fn a_counter_has_a_rate_from_its_second_page_on_and_none_when_it_began_again() {
        let page = |count: u32| format!("served_total {count}\n");
        let rate = |pages: &[(i64, u32)]| {
            let pages: Vec<_> = pages.iter().map(|(at, count)| (*at, page(*count))).collect();
            let pages: Vec<_> = pages.iter().map(|(at, page)| ("x", *at, page.as_str())).collect();
            readings(&pages).of_pods("default", "served", &LabelSelector::default())
        };
        assert_eq!(rate(&[(0, 10)]), []);
        assert_eq!(values(&rate(&[(0, 10), (5, 30)])), [("x", 4000)]);
        assert_eq!(rate(&[(0, 10), (5, 3)]), []);
    }

    #[test]
    fn what_is_no_number_is_left_out_and_pods_that_are_gone_are_forgotten() {
        let mut readings = readings(&[("x", 0, "a NaN\nb +Inf\nc_bucket{le=\"1\"} 3\nd 1\n")]);
        let count = |readings: &Readings, name: &str| {
            readings.of_pods("default", name, &LabelSelector::default()).len()
        };
        let counts: Vec<usize> =
            ["a", "b", "c_bucket", "d"].map(|name| count(&readings, name)).into();
        assert_eq!(counts, [0, 0, 0, 1]);
        readings.retain(|_| false);
        assert_eq!(count(&readings, "d"), 0);
    }
}
