//! Events as the Trace Event Format has them, which Perfetto and `chrome://tracing` read.

use serde::Serialize;

/// One event.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Event {
    Named(Named),
    Complete(Complete),
    Async(Async),
}

/// Gives a process or a thread its name.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Named {
    /// `process_name` or `thread_name`.
    pub(super) name: &'static str,
    pub(super) ph: &'static str,
    pub(super) pid: u32,
    pub(super) tid: i32,
    pub(super) args: NameArgs,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct NameArgs {
    pub(super) name: String,
}

/// What begins and ends on one thread, inside of what began before and has not ended.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Complete {
    pub(super) name: String,
    pub(super) cat: &'static str,
    pub(super) ph: &'static str,
    #[serde(serialize_with = "micros")]
    pub(super) ts: u64,
    #[serde(serialize_with = "micros")]
    pub(super) dur: u64,
    pub(super) pid: u32,
    pub(super) tid: i32,
    pub(super) args: Args,
}

/// The begin or the end of what belongs to no thread.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Async {
    pub(super) name: String,
    pub(super) cat: &'static str,
    /// `b` or `e`.
    pub(super) ph: &'static str,
    pub(super) id: String,
    #[serde(serialize_with = "micros")]
    pub(super) ts: u64,
    pub(super) pid: u32,
    pub(super) tid: i32,
    pub(super) args: Args,
}

/// What is shown of an event that is clicked at.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Args {
    /// What client or server call the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request_id: Option<String>,
    /// Tokio's number of the task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) task: Option<u64>,
    /// Which poll of its request it is, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) poll: Option<u32>,
    /// Whether it began before the recording, or lasts after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cut: Option<&'static str>,
    /// How a request ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) outcome: Option<&'static str>,
    /// Whose fault a stall is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) class: Option<&'static str>,
    /// The system call that a stall waits in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) syscall: Option<&'static str>,
    /// Of a stall, the app's own functions, or of libraries that work for it, the innermost first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) stack: Vec<String>,
    /// Where a span is in the code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) at: Option<String>,
}

/// Nanoseconds as the microseconds that the format wants.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn micros<S: serde::Serializer>(nanoseconds: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(*nanoseconds as f64 / 1e3)
}

/// What is on one thread in the order of its begin, and what contains something before that.
pub(super) fn sort(events: &mut [Complete]) {
    events.sort_by_key(|event| (event.pid, event.tid, event.ts, std::cmp::Reverse(event.dur)));
    // What does not end before what it is in, such as a span that is held across polls, is cut.
    let mut around: Vec<(u32, i32, u64)> = Vec::new();
    for event in events {
        while around.last().is_some_and(|(pid, tid, end)| {
            (*pid, *tid) != (event.pid, event.tid) || *end <= event.ts
        }) {
            around.pop();
        }
        let end = event.ts + event.dur;
        let end = around.last().map_or(end, |(_, _, outer)| end.min(*outer));
        event.dur = end - event.ts;
        around.push((event.pid, event.tid, end));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(tid: i32, ts: u64, dur: u64) -> Complete {
        let (name, cat, ph, args) = (String::new(), "", "X", Args::default());
        Complete { name, cat, ph, ts, dur, pid: 1, tid, args }
    }

    #[test]
    fn what_crosses_the_end_of_what_it_is_in_is_cut() {
        let mut events = [
            complete(1, 5, 10),
            complete(2, 0, 100),
            complete(1, 0, 10),
            complete(1, 10, 5),
            complete(1, 0, 20),
        ];
        sort(&mut events);
        let times: Vec<_> = events.iter().map(|event| (event.tid, event.ts, event.dur)).collect();
        assert_eq!(times, [(1, 0, 20), (1, 0, 10), (1, 5, 5), (1, 10, 5), (2, 0, 100)]);
    }

    #[test]
    fn an_event_has_microseconds_and_only_what_is_known() {
        let event = serde_json::to_string(&complete(3, 1_500, 2)).expect("JSON");
        let said =
            r#"{"name":"","cat":"","ph":"X","ts":1.5,"dur":0.002,"pid":1,"tid":3,"args":{}}"#;
        assert_eq!(event, said);
    }
}
