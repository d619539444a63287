//! Which published names mean heap in use, tasks and garbage collections.
//!
//! Invariant: an explicit list, the most exact name first; the first that a page holds counts, all its series
//! added up. Of names that a service made itself only an unlabelled gauge with one of the given endings counts.
//! A figure that is negative, not a number or too large is not told.

use super::exposition::{Line, lines};
use serde::Deserialize;
use std::collections::HashMap;

/// A name, and a label that its series must have.
type Name = (&'static str, Option<(&'static str, &'static str)>);

const fn any(name: &'static str) -> Name {
    (name, None)
}

const HEAP_AREA: Option<(&str, &str)> = Some(("area", "heap"));

/// Heap in use, bytes: Go (two generations of its collector), Node, the JVM (two generations of client libraries,
/// Micrometer), .NET, jemalloc.
const HEAP: &[Name] = &[
    any("go_memstats_heap_inuse_bytes"),
    any("go_memory_classes_heap_objects_bytes"),
    any("nodejs_heap_size_used_bytes"),
    ("jvm_memory_used_bytes", HEAP_AREA),
    ("jvm_memory_bytes_used", HEAP_AREA),
    any("dotnet_gc_last_collection_heap_size_bytes"),
    any("dotnet_total_memory_bytes"),
    any("jemalloc_allocated_bytes"),
    any("jemalloc_stats_allocated_bytes"),
];

/// The heap's limit, bytes.
const HEAP_LIMIT: &[Name] = &[("jvm_memory_max_bytes", HEAP_AREA), ("jvm_memory_bytes_max", HEAP_AREA)];

/// Goroutines; async tasks.
const TASKS: &[Name] = &[
    any("go_goroutines"),
    any("go_sched_goroutines_goroutines"),
    any("tokio_num_alive_tasks"),
    any("tokio_alive_tasks"),
    any("tokio_live_tasks_count"),
    any("tokio_active_tasks_count"),
];

/// Garbage collections since the start.
const COLLECTIONS: &[Name] = &[
    any("go_gc_duration_seconds_count"),
    any("go_gc_cycles_total_gc_cycles_total"),
    any("nodejs_gc_duration_seconds_count"),
    any("jvm_gc_collection_seconds_count"),
    any("jvm_gc_pause_seconds_count"),
    any("dotnet_collection_count_total"),
    any("python_gc_collections_total"),
];

/// Endings of a service's own gauges.
const OWN_HEAP: &str = "_heap_in_use_bytes";
const OWN_TASKS: &str = "_tasks";

/// What a page told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Figures {
    pub(super) heap: Option<u64>,
    pub(super) heap_limit: Option<u64>,
    pub(super) tasks: Option<u64>,
    pub(super) collections: Option<u64>,
}

/// Reads Prometheus' text format.
pub(super) fn of_exposition(page: &str) -> Result<Figures, String> {
    let lists = [HEAP, HEAP_LIMIT, TASKS, COLLECTIONS];
    let mut sums: [Vec<Option<f64>>; 4] = lists.map(|list| vec![None; list.len()]);
    let mut own: [Option<f64>; 2] = [None; 2];
    let mut gauges: HashMap<&str, bool> = HashMap::new();
    for line in lines(page) {
        let sample = match line? {
            Line::Kind(name, kind) => {
                if name.ends_with(OWN_HEAP) || name.ends_with(OWN_TASKS) {
                    gauges.insert(name, kind == "gauge");
                }
                continue;
            }
            Line::Sample(sample) => sample,
        };
        for (list, sums) in lists.iter().zip(&mut sums) {
            for ((_, label), sum) in list.iter().zip(sums).filter(|((name, _), _)| *name == sample.name) {
                let fits = label.is_none_or(|(name, value)| sample.label(name).as_deref() == Some(value));
                // A pool without a limit says -1.
                if fits && sample.value >= 0.0 {
                    *sum = Some(sum.unwrap_or(0.0) + sample.value);
                }
            }
        }
        if sample.is_bare() && gauges.get(sample.name) == Some(&true) {
            let which = usize::from(sample.name.ends_with(OWN_TASKS));
            own[which] = own[which].or(Some(sample.value));
        }
    }
    let first = |which: usize| sums[which].iter().flatten().next().copied();
    Ok(Figures {
        heap: first(0).or(own[0]).and_then(whole),
        heap_limit: first(1).and_then(whole).filter(|limit| *limit > 0),
        tasks: first(2).or(own[1]).and_then(whole),
        collections: first(3).and_then(whole),
    })
}

#[derive(Deserialize)]
struct Expvar {
    memstats: MemStats,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct MemStats {
    heap_inuse: u64,
    #[serde(rename = "NumGC")]
    collections: u64,
}

/// Reads Go's `/debug/vars`.
pub(super) fn of_expvar(page: &str) -> Result<Figures, String> {
    let told: Expvar = serde_json::from_str(page).map_err(|error| format!("not Go's variables: {error}"))?;
    let MemStats { heap_inuse, collections } = told.memstats;
    Ok(Figures { heap: Some(heap_inuse), collections: Some(collections), ..Figures::default() })
}

/// A count, if it is one.
fn whole(value: f64) -> Option<u64> {
    // Up to here every whole number is one exactly.
    const MOST: f64 = 9_007_199_254_740_992.0;
    (0.0..=MOST).contains(&value).then_some(value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtimes_are_understood() {
        let of = |page: &str| of_exposition(page).expect("reads");
        let go = of(
            "go_memstats_heap_alloc_bytes 1\ngo_memstats_heap_inuse_bytes 2.5e+06\ngo_goroutines 12\ngo_gc_duration_seconds_count 7\n",
        );
        assert_eq!((go.heap, go.tasks, go.collections), (Some(2_500_000), Some(12), Some(7)));
        let jvm = of(
            "jvm_memory_used_bytes{area=\"heap\",id=\"Eden\"} 5\njvm_memory_used_bytes{area=\"heap\",id=\"Old\"} 6\n\
            jvm_memory_used_bytes{area=\"nonheap\",id=\"Code\"} 100\njvm_memory_max_bytes{area=\"heap\",id=\"Eden\"} -1\n\
            jvm_memory_max_bytes{area=\"heap\",id=\"Old\"} 64\njvm_gc_pause_seconds_count{action=\"x\"} 2\njvm_gc_pause_seconds_count{action=\"y\"} 3\n",
        );
        assert_eq!((jvm.heap, jvm.heap_limit, jvm.collections, jvm.tasks), (Some(11), Some(64), Some(5), None));
        let own = of("# TYPE a_heap_in_use_bytes gauge\na_heap_in_use_bytes 4\n# TYPE a_tasks gauge\na_tasks 3\n\
            # TYPE b_tasks counter\nb_tasks 99\nc_tasks{x=\"y\"} 8\n");
        assert_eq!((own.heap, own.tasks), (Some(4), Some(3)));
    }

    #[test]
    fn odd_figures_are_not_told() {
        for value in ["NaN", "-1", "+Inf", "1e300"] {
            let page = format!("go_goroutines {value}\nnodejs_heap_size_used_bytes {value}\n");
            assert_eq!(of_exposition(&page), Ok(Figures::default()), "{value}");
        }
        assert_eq!(of_exposition(""), Ok(Figures::default()));
        assert!(of_exposition("go_goroutines 1\nrubbish\n").is_err());
    }

    #[test]
    fn gos_variables_are_understood() {
        let told = of_expvar(r#"{"cmdline":["x"],"memstats":{"Alloc":1,"HeapInuse":4096,"NumGC":3}}"#);
        assert_eq!(told.map(|told| (told.heap, told.collections)), Ok((Some(4096), Some(3))));
        assert!(of_expvar("{}").is_err() && of_expvar(&"[".repeat(100_000)).is_err());
    }
}
