//! A recording as a trace: JSON, as it is or compressed.

use std::{
    collections::{BTreeSet, HashMap},
    io::{self, Write as _},
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use flate2::{Compression, write::GzEncoder};
use http::HeaderValue;
use jiff::Timestamp;
use serde::Serialize;
use thermograph_profile::plumbing;
use thermograph_sampler::Moment;

use super::{
    event::{self, Args, Async, Complete, Event, NameArgs, Named},
    recorded::Recorded,
};
use crate::{
    handlers::{
        Handler, Overruns, nanoseconds,
        track::{Asked, Dropped, Polled, Spanned},
    },
    instance::Instance,
    stall::{self, Record},
};

/// What is sent.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Trace {
    display_time_unit: &'static str,
    other_data: Metadata,
    #[serde(rename = "traceEvents")]
    events: Vec<Event>,
}

/// What to know of a trace.
#[derive(Clone, Debug, Serialize)]
struct Metadata {
    made_by: &'static str,
    /// When it began.
    began: String,
    seconds: f64,
    /// What found no room, and is not in it.
    dropped: DroppedRow,
    notes: Vec<String>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct DroppedRow {
    polls: u64,
    short_polls: u64,
    requests: u64,
    spans: u64,
    /// Of threads for which no memory was set aside yet.
    untracked: u64,
}

/// The process whose threads poll, and one that does not exist: stalls need threads of their own,
/// since a poll is not charged for those inside of it.
const THREADS: u32 = 1;
const STALLS: u32 = 2;
/// Functions of a stall's stack.
const FRAMES: usize = 6;

impl Trace {
    pub(super) fn of(instance: &Instance, recorded: &Recorded, has_layer: bool) -> Self {
        let overruns = instance.ledger().overruns();
        let of = Of { overruns, recorded, ids: ids(recorded) };
        let mut complete = of.polls();
        complete.extend(of.spans());
        complete.extend(of.stalls(instance));
        event::sort(&mut complete);
        let requests = of.requests();
        let mut events: Vec<_> = of.names(&complete).map(Event::Named).collect();
        events.extend(complete.into_iter().map(Event::Complete));
        events.extend(requests.into_iter().map(Event::Async));
        let Recorded { begun, begun_at, end, dropped, .. } = *recorded;
        let mut notes = Vec::new();
        if !has_layer {
            let note = "no spans: put Thermograph::tracing_layer() on the app's subscriber";
            notes.push(note.to_owned());
        }
        let Dropped { polls, short_polls, requests, spans, untracked } = dropped;
        let other_data = Metadata {
            made_by: concat!("thermograph ", env!("CARGO_PKG_VERSION")),
            began: timestamp(begun_at).to_string(),
            seconds: Duration::from_nanos(end.since(begun)).as_secs_f64(),
            dropped: DroppedRow { polls, short_polls, requests, spans, untracked },
            notes,
        };
        Self { display_time_unit: "ms", other_data, events }
    }

    pub(crate) fn json(&self) -> io::Result<Vec<u8>> {
        Ok(serde_json::to_vec(self)?)
    }

    pub(crate) fn gzip(&self) -> io::Result<Vec<u8>> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        // Not a call of the encoder for each number.
        let mut buffered = io::BufWriter::with_capacity(1 << 16, &mut gzip);
        serde_json::to_writer(&mut buffered, self)?;
        buffered.flush()?;
        drop(buffered);
        gzip.finish()
    }
}

fn timestamp(at: SystemTime) -> Timestamp {
    Timestamp::try_from(at).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Names of requests, by what they are told apart by.
fn ids(recorded: &Recorded) -> HashMap<u64, String> {
    let ended = recorded.tracks.iter().flat_map(|track| &track.requests);
    let all = ended.chain(&recorded.waiting);
    all.filter_map(|asked| Some((asked.start.raw(), text(asked.id.as_ref()?)?))).collect()
}

fn text(id: &HeaderValue) -> Option<String> {
    id.to_str().ok().map(str::to_owned)
}

/// What is of one app in a recording.
struct Of<'a> {
    overruns: &'static Overruns,
    recorded: &'a Recorded,
    /// Names of requests.
    ids: HashMap<u64, String>,
}

impl Of<'_> {
    fn is_own(&self, handler: &Handler) -> bool {
        handler.is_of(self.overruns)
    }

    /// Nanoseconds since the recording began, and how long; what is outside of it is cut off.
    fn times(&self, start: Moment, end: Moment) -> (u64, u64, Option<&'static str>) {
        let Recorded { begun, end: last, .. } = self.recorded;
        let (from, to) = (start.since(*begun), end.since(*begun).min(last.since(*begun)));
        let cut = (start.raw() < begun.raw()).then_some("it began before the recording");
        (from, to.saturating_sub(from), cut)
    }

    fn polls(&self) -> Vec<Complete> {
        let Recorded { begun, end, tracks, lasting, .. } = self.recorded;
        let is_inside = |poll: &&Polled| {
            self.is_own(poll.handler)
                && poll.start.raw() < end.raw()
                && poll.end.raw() > begun.raw()
        };
        let ended = tracks.iter().flat_map(|track| &track.polls).filter(is_inside);
        let ended = ended.map(|poll| self.poll(poll, poll.end));
        let lasting = lasting.iter().filter(|poll| self.is_own(poll.handler));
        let lasting = lasting.map(|poll| {
            let mut event = self.poll(poll, *end);
            event.args.cut = Some("it lasts after the recording");
            event
        });
        ended.chain(lasting).collect()
    }

    fn poll(&self, poll: &Polled, end: Moment) -> Complete {
        let (ts, dur, cut) = self.times(poll.start, end);
        let args = Args {
            request_id: self.ids.get(&poll.part.request).cloned(),
            task: (poll.task != 0).then_some(poll.task),
            poll: (poll.part.number != 0).then_some(poll.part.number),
            cut,
            ..Args::default()
        };
        let (name, tid) = (format!("{:?}", poll.handler), poll.thread);
        let cat = if poll.part.number != 0 { "poll" } else { "task" };
        Complete { name, cat, ph: "X", ts, dur, pid: THREADS, tid, args }
    }

    fn spans(&self) -> impl Iterator<Item = Complete> {
        self.recorded.tracks.iter().flat_map(|track| &track.spans).map(|span| {
            let Spanned { meta, thread, start, end } = span;
            let (ts, dur, cut) = self.times(*start, *end);
            let at = match (meta.file(), meta.line()) {
                (Some(file), Some(line)) => format!("{} ({file}:{line})", meta.target()),
                _ => meta.target().to_owned(),
            };
            let args = Args { at: Some(at), cut, ..Args::default() };
            let name = meta.name().to_owned();
            Complete { name, cat: "span", ph: "X", ts, dur, pid: THREADS, tid: *thread, args }
        })
    }

    fn stalls(&self, instance: &Instance) -> Vec<Complete> {
        let mut stalls = instance.stalls.store().newest();
        let since_epoch = |at: SystemTime| at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let begun = since_epoch(self.recorded.begun_at);
        let length = Duration::from_nanos(self.recorded.end.since(self.recorded.begun));
        let span = |record: &Record| {
            let start = since_epoch(record.began);
            (start, start + record.facts().elapsed)
        };
        stalls.retain(|record| {
            let (start, end) = span(record);
            start < begun + length && end > begun
        });
        stall::name(&stalls);
        let event = |record: &Record| {
            let (start, end) = span(record);
            let from = start.saturating_sub(begun);
            let to = end.saturating_sub(begun).min(length);
            Complete {
                name: format!("{:?}", record.handler),
                cat: "stall",
                ph: "X",
                ts: nanoseconds(from),
                dur: nanoseconds(to.saturating_sub(from)),
                pid: STALLS,
                tid: record.thread_id,
                args: stalled(record),
            }
        };
        stalls.iter().map(|record| event(record)).collect()
    }

    /// The begin and the end of each request.
    fn requests(&self) -> Vec<Async> {
        let Recorded { begun, end, tracks, waiting, .. } = self.recorded;
        let ended = tracks.iter().flat_map(|track| &track.requests);
        let is_inside = |asked: &&Asked| {
            self.is_own(asked.handler)
                && asked.start.raw() < end.raw()
                && asked.end.raw() > begun.raw()
        };
        let all = ended.chain(waiting).filter(is_inside).zip(1_u64..);
        let mut events: Vec<_> =
            all.flat_map(|(asked, number)| self.request(asked, number)).collect();
        // Stable: the begin of one that takes no time stays before its end.
        events.sort_by_key(|event| event.ts);
        events
    }

    fn request(&self, asked: &Asked, number: u64) -> [Async; 2] {
        let (ts, dur, cut) = self.times(asked.start, asked.end);
        let args = Args {
            request_id: asked.id.as_ref().and_then(text),
            outcome: Some(asked.outcome),
            cut,
            ..Args::default()
        };
        let event = |ph, ts, args| Async {
            name: format!("{:?}", asked.handler),
            cat: "request",
            ph,
            id: format!("{number:#x}"),
            ts,
            pid: THREADS,
            tid: asked.thread,
            args,
        };
        [event("b", ts, args), event("e", ts + dur, Args::default())]
    }

    /// Of both processes, and of every thread that did something.
    fn names(&self, events: &[Complete]) -> impl Iterator<Item = Named> {
        let threads: BTreeSet<_> = events.iter().map(|event| (event.pid, event.tid)).collect();
        let named = |name, pid, tid, shown| Named {
            name,
            ph: "M",
            pid,
            tid,
            args: NameArgs { name: shown },
        };
        let program = std::env::args_os().next().unwrap_or_default();
        let program = Path::new(&program).file_name().unwrap_or_default().to_string_lossy();
        let processes = [
            named("process_name", THREADS, 0, program.into_owned()),
            named("process_name", STALLS, 0, "stalls".to_owned()),
        ];
        let threads = threads.into_iter().map(move |(pid, tid)| {
            let known = self.recorded.names.get(&tid).cloned();
            named("thread_name", pid, tid, known.unwrap_or_else(|| format!("thread {tid}")))
        });
        processes.into_iter().chain(threads)
    }
}

fn stalled(record: &Record) -> Args {
    let facts = record.facts();
    let frames = facts.named.iter().flat_map(|stack| stack.iter());
    let frames = frames.flat_map(|location| &location.frames);
    let chosen = frames.filter(|frame| plumbing::is_chosen(&frame.name, &frame.file)).take(FRAMES);
    Args {
        request_id: facts.request_id.clone(),
        task: (record.task != 0).then_some(record.task),
        cut: (!facts.ended).then_some("it lasts after the recording"),
        class: Some(facts.class.name()),
        syscall: facts.syscall,
        stack: chosen
            .map(|frame| format!("{} ({}:{})", frame.name, frame.file, frame.line))
            .collect(),
        ..Args::default()
    }
}
