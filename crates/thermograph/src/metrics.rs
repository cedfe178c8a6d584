//! The ledger, and whatever the app adds, in Prometheus' text format.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
};

use thermograph_sampler::Slot;

use super::{
    log,
    pool::{Figures, Standing},
    stall::{LockHolder, StallLock, Totals, lock::place},
};
use crate::{
    class::{Class, NoStack},
    exposition::Exposition,
    handlers::{DelayRow, Handler, HandlerRow},
    instance::Instance,
    memory::Memory,
};

/// A metric of each handler.
struct Family {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    value: fn(&HandlerRow) -> f64,
}

const FAMILIES: [Family; 8] = [
    Family {
        name: "thermograph_handler_in_place_stalls_total",
        kind: "counter",
        help: "Of the handler's stalls, those that handed the worker over with block_in_place.",
        value: |row| row.stalls.in_place as f64,
    },
    Family {
        name: "thermograph_handler_in_flight_requests",
        kind: "gauge",
        help: "Requests on their way.",
        value: |row| row.in_flight as f64,
    },
    Family {
        name: "thermograph_handler_cancelled_requests_total",
        kind: "counter",
        help: "Requests dropped before the response head.",
        value: |row| row.cancelled as f64,
    },
    Family {
        name: "thermograph_handler_cut_responses_total",
        kind: "counter",
        help: "Responses dropped in the midst of their body.",
        value: |row| row.cut as f64,
    },
    Family {
        name: "thermograph_handler_polls_total",
        kind: "counter",
        help: "Polls of the handler's future and of its body, and long ones of tasks it spawned.",
        value: |row| row.polls as f64,
    },
    Family {
        name: "thermograph_handler_poll_seconds_total",
        kind: "counter",
        help: "Time that the handler's polls took from the runtime's workers.",
        value: |row| row.busy_ms / 1e3,
    },
    Family {
        name: "thermograph_handler_longest_poll_seconds",
        kind: "gauge",
        help: "Longest poll since the start.",
        value: |row| row.poll_ms.max / 1e3,
    },
    Family {
        name: "thermograph_handler_held_workers",
        kind: "gauge",
        help: "Workers that stalls of the handler hold now.",
        value: |row| row.holding.workers as f64,
    },
];

/// Everything that `/metrics` shows.
pub(crate) fn render(instance: &Instance) -> String {
    let report = instance.ledger().report();
    let mut text = handlers(&report.handlers);
    let name = "thermograph_ledger_overflowed_requests_total";
    head(&mut text, name, "counter", "Requests of handlers past the ledger's bound.");
    line(&mut text, format_args!("{name} {}", report.overflowed));
    let store = instance.stalls.store();
    store.name_holders();
    stalls(&mut text, &store.totals());
    harm(&mut text, &report.handlers);
    latency(&mut text, &report.handlers);
    delays(&mut text, &report.delays);
    let name = "thermograph_unlisted_delay_seconds_total";
    head(&mut text, name, "counter", "Delays by stalls between pairs of handlers past the bound.");
    line(&mut text, format_args!("{name} {}", report.unlisted_delay_ms / 1e3));
    let waits = instance.ledger().waits();
    let name = "thermograph_harm_dropped_waits_total";
    head(
        &mut text,
        name,
        "counter",
        "Waits for a worker that no stall was charged with, for want of room.",
    );
    line(&mut text, format_args!("{name} {}", waits.dropped()));
    let name = "thermograph_console_unnamed_requests_total";
    head(&mut text, name, "counter", "Requests without a row in the console that was attached.");
    line(&mut text, format_args!("{name} {}", instance.ledger().budget().refused()));
    let name = "thermograph_console_refused_total";
    head(&mut text, name, "counter", "What the console that was attached was not shown: too much.");
    for (kind, refused) in instance.console().refused() {
        line(&mut text, format_args!("{name}{{kind=\"{kind}\"}} {refused}"));
    }
    let name = "thermograph_unwatched_threads";
    head(&mut text, name, "gauge", "Threads that poll handlers and are not watched for stalls.");
    line(&mut text, format_args!("{name} {}", Slot::crowded_out()));
    #[cfg(tokio_unstable)]
    {
        let name = "thermograph_unlisted_tasks_total";
        head(&mut text, name, "counter", "Tasks past the bound, not listed nor named by handler.");
        line(&mut text, format_args!("{name} {}", crate::task_table::TASKS.unlisted()));
    }
    pools(&mut text, &instance.pools.reports().now());
    for (name, help, bytes) in Memory::now().figures() {
        head(&mut text, name, "gauge", help);
        line(&mut text, format_args!("{name} {bytes}"));
    }
    let name = "thermograph_dropped_log_lines_total";
    head(
        &mut text,
        name,
        "counter",
        "Log lines of the diagnostics dropped because the log blocked.",
    );
    line(&mut text, format_args!("{name} {}", log::dropped()));
    text
}

/// What the app's own functions render. They run the app's code, and may block.
pub(crate) fn render_of_app(instance: &Instance) -> String {
    instance.exposition.iter().map(Exposition::render).collect()
}

fn handlers(rows: &[HandlerRow]) -> String {
    let mut text = String::new();
    let name = "thermograph_handler_requests_total";
    head(&mut text, name, "counter", "Requests answered, by the first digit of the status.");
    for row in rows {
        for (class, count) in row.by_class.iter().enumerate().filter(|(_, count)| **count > 0) {
            let class = class + 1;
            let labels = labels(row);
            line(&mut text, format_args!("{name}{{{labels},status=\"{class}xx\"}} {count}"));
        }
    }
    for Family { name, kind, help, value } in FAMILIES {
        head(&mut text, name, kind, help);
        for row in rows {
            line(&mut text, format_args!("{name}{{{}}} {}", labels(row), value(row)));
        }
    }
    text
}

/// Where a runtime tells it.
fn harm(text: &mut String, rows: &[HandlerRow]) {
    let name = "thermograph_handler_harm_seconds_total";
    head(
        text,
        name,
        "counter",
        "Time that requests and tasks waited for a worker that a stall held.",
    );
    for row in rows {
        if let Some(harm) = row.harm_ms {
            line(text, format_args!("{name}{{{}}} {}", labels(row), harm / 1e3));
        }
    }
}

/// Time from arrival to the response head, and what it was spent with.
fn latency(text: &mut String, rows: &[HandlerRow]) {
    let name = "thermograph_handler_latency_seconds";
    head(text, name, "summary", "Time from arrival, where it is measured, to the response head.");
    for row in rows {
        let (labels, of) = (labels(row), row.head_ms);
        for (quantile, ms) in [("0.5", of.p50), ("0.9", of.p90), ("0.99", of.p99)] {
            let value = ms / 1e3;
            line(text, format_args!("{name}{{{labels},quantile=\"{quantile}\"}} {value}"));
        }
        line(text, format_args!("{name}_sum{{{labels}}} {}", row.latency.whole_ms / 1e3));
        line(text, format_args!("{name}_count{{{labels}}} {}", row.requests));
    }
    let name = "thermograph_handler_latency_part_seconds_total";
    head(
        text,
        name,
        "counter",
        "Time from arrival to the response head, by what it was spent with.",
    );
    for row in rows {
        let parts = row.latency;
        for (part, ms) in [
            ("waiting", parts.waiting_ms),
            ("cpu", parts.cpu_ms),
            ("blocked", parts.blocked_ms),
            ("awaiting", parts.awaiting_ms),
            ("unknown", parts.unknown_ms),
        ] {
            let value = ms / 1e3;
            line(text, format_args!("{name}{{{},part=\"{part}\"}} {value}", labels(row)));
        }
    }
}

/// How long handlers waited for each other's stalls.
fn delays(text: &mut String, rows: &[DelayRow]) {
    let name = "thermograph_delay_seconds_total";
    head(text, name, "counter", "Time that requests waited while a stall of `by_route` lasted.");
    for row in rows {
        let DelayRow { method, by_method, ms, .. } = row;
        let (route, by_route) = (escape(&row.route), escape(&row.by_route));
        let value = ms / 1e3;
        line(
            text,
            format_args!(
                "{name}{{method=\"{method}\",route=\"{route}\",by_method=\"{by_method}\",\
                 by_route=\"{by_route}\"}} {value}"
            ),
        );
    }
}

/// Stalls by handler and class, and what is not known of them.
fn stalls(text: &mut String, totals: &Totals) {
    let name = "thermograph_stalls_total";
    head(text, name, "counter", "Polls over the threshold, ended or not, by whose fault they are.");
    for (handler, class, lengths) in &totals.lengths {
        let labels = stall_labels(handler, *class);
        line(text, format_args!("{name}{{{labels}}} {}", lengths.count));
    }
    let name = "thermograph_stall_seconds";
    let help =
        "Length of polls over the threshold; of those that last, so far, in no finite bucket.";
    head(text, name, "histogram", help);
    for (handler, class, lengths) in &totals.lengths {
        let labels = stall_labels(handler, *class);
        for (bound, count) in lengths.buckets() {
            line(text, format_args!("{name}_bucket{{{labels},le=\"{bound}\"}} {count}"));
        }
        line(text, format_args!("{name}_bucket{{{labels},le=\"+Inf\"}} {}", lengths.count));
        line(text, format_args!("{name}_sum{{{labels}}} {}", lengths.sum.as_secs_f64()));
        line(text, format_args!("{name}_count{{{labels}}} {}", lengths.count));
    }
    locks(text, totals);
    let name = "thermograph_stalls_without_stack_total";
    head(text, name, "counter", "Stalls for which no stack could be taken, by reason.");
    for (reason, count) in NoStack::ALL.iter().zip(totals.without_stack) {
        line(text, format_args!("{name}{{reason=\"{}\"}} {count}", reason.name()));
    }
    for (name, help, value) in [
        (
            "thermograph_stalls_dropped_total",
            "Stalls that were not written down, for want of room.",
            totals.dropped,
        ),
        (
            "thermograph_stalls_without_place_total",
            "Stalls that are in /debug/pprof/block without their stack, for want of room.",
            totals.without_place,
        ),
        (
            "thermograph_stalls_untold_total",
            "Stalls that were neither logged nor sent as events, for want of room.",
            totals.untold,
        ),
    ] {
        head(text, name, "counter", help);
        line(text, format_args!("{name} {value}"));
    }
}

/// Locks that stalls wait for now.
fn locks(text: &mut String, totals: &Totals) {
    let name = "thermograph_lock_waits";
    let help = "Stalls that last and wait for a lock, by lock and probable holder.";
    head(text, name, "gauge", help);
    let mut waits = BTreeMap::<String, u64>::new();
    for (handler, lock) in &totals.locks {
        let StallLock { kind, address, holder } = lock;
        let held_by = holder.as_ref().map_or_else(String::new, LockHolder::name);
        let at = holder.as_ref().and_then(|holder| holder.at.as_ref());
        let held_at = at.map_or_else(String::new, place);
        let labels = format!(
            "method=\"{}\",route=\"{}\",lock=\"{kind} at {address}\",held_by=\"{}\",held_at=\"{}\"",
            handler.method,
            escape(&handler.route),
            escape(&held_by),
            escape(&held_at)
        );
        *waits.entry(labels).or_default() += 1;
    }
    for (labels, count) in waits {
        line(text, format_args!("{name}{{{labels}}} {count}"));
    }
}

/// A metric of each blocking pool; no line for a pool of which it is not known.
struct PoolFamily {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    value: fn(&Standing) -> Option<f64>,
}

const POOL_FAMILIES: [PoolFamily; 9] = [
    PoolFamily {
        name: "thermograph_blocking_pool_threads",
        kind: "gauge",
        help: "Threads of the runtime's blocking pool, without its workers.",
        value: |pool| Some(pool.figures?.threads as f64),
    },
    PoolFamily {
        name: "thermograph_blocking_pool_idle_threads",
        kind: "gauge",
        help: "Threads of the blocking pool without work.",
        value: |pool| Some(pool.figures?.idle as f64),
    },
    PoolFamily {
        name: "thermograph_blocking_pool_busy_threads",
        kind: "gauge",
        help: "Threads of the blocking pool with work.",
        value: |pool| pool.figures.map(|Figures { threads, idle, .. }| (threads - idle) as f64),
    },
    PoolFamily {
        name: "thermograph_blocking_pool_max_threads",
        kind: "gauge",
        help: "Most threads of the blocking pool; known once it was reached.",
        value: |pool| pool.limit.map(|limit| limit as f64),
    },
    PoolFamily {
        name: "thermograph_blocking_pool_queue_depth",
        kind: "gauge",
        help: "Work that waits for a thread of the blocking pool; known with tokio_unstable only.",
        value: |pool| pool.figures?.queued.map(|queued| queued as f64),
    },
    PoolFamily {
        name: "thermograph_blocking_pool_exhausted",
        kind: "gauge",
        help: "1 while the blocking pool is at its limit, has no idle thread, and work waits.",
        value: |pool| pool.figures.map(|_| f64::from(u8::from(pool.is_exhausted))),
    },
    PoolFamily {
        name: "thermograph_blocking_pool_exhausted_seconds_total",
        kind: "counter",
        help: "Time for which the blocking pool was exhausted.",
        value: |pool| pool.figures.map(|_| pool.exhausted.as_secs_f64()),
    },
    PoolFamily {
        name: "thermograph_blocking_pool_queue_wait_so_far_seconds",
        kind: "gauge",
        help: "Time that a probe has waited in the queue so far; 0 if none is queued.",
        value: |pool| pool.figures.map(|_| pool.waits.so_far.unwrap_or_default().as_secs_f64()),
    },
    PoolFamily {
        name: "thermograph_blocking_pool_longest_queue_wait_seconds",
        kind: "gauge",
        help: "Longest time that a probe waited in the queue since the start.",
        value: |pool| pool.figures.map(|_| pool.waits.longest_so_far().as_secs_f64()),
    },
];

/// The blocking pools of the runtimes that are known.
fn pools(text: &mut String, pools: &[Standing]) {
    for PoolFamily { name, kind, help, value } in POOL_FAMILIES {
        head(text, name, kind, help);
        for pool in pools {
            if let Some(value) = value(pool) {
                line(text, format_args!("{name}{{{}}} {value}", pool_labels(pool)));
            }
        }
    }
    let name = "thermograph_blocking_pool_queue_wait_seconds";
    head(text, name, "summary", "Time that probes waited in the queue of an exhausted pool.");
    for pool in pools.iter().filter(|pool| pool.figures.is_some()) {
        let labels = pool_labels(pool);
        line(text, format_args!("{name}_sum{{{labels}}} {}", pool.waits.sum.as_secs_f64()));
        line(text, format_args!("{name}_count{{{labels}}} {}", pool.waits.count));
    }
}

fn pool_labels(pool: &Standing) -> String {
    let threads = escape(pool.name.as_deref().unwrap_or_default());
    format!("runtime=\"{}\",threads=\"{threads}\"", pool.runtime)
}

fn stall_labels(handler: &Handler, class: Class) -> String {
    let route = escape(&handler.route);
    format!("method=\"{}\",route=\"{route}\",class=\"{class}\"", handler.method)
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    line(text, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
}

/// Writing to a string cannot fail.
fn line(text: &mut String, line: fmt::Arguments<'_>) {
    let _ = writeln!(text, "{line}");
}

fn labels(row: &HandlerRow) -> String {
    format!("method=\"{}\",route=\"{}\"", row.method, escape(&row.route))
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
