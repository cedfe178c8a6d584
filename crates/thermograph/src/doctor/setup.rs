//! How the app put the diagnostics on, and how they are configured.

use tracing::level_filters::LevelFilter;

use crate::{
    allocator::{self, NoHeap},
    build_info::BuildInfo,
    checks::Finding,
    config::{Config, ConsoleMode, HeapMode, Stacks},
    coverage::Coverage,
    handlers::UNMATCHED,
    instance::Instance,
    pool::{Figures, Source, Standing},
    reach::Reach,
};

/// Until then it is no wonder that nobody has asked.
const EARLY: f64 = 60.0;
/// Bytes of a token from which it cannot be guessed.
const LONG: usize = 16;

pub(super) fn findings(instance: &Instance) -> Vec<Finding> {
    let inner = &instance;
    let report = inner.ledger.report();
    let requests = report.handlers.iter().map(|row| row.requests + row.in_flight).sum();
    let unmatched = report.handlers.iter().filter(|row| row.route.ends_with(UNMATCHED));
    let unmatched = unmatched.map(|row| row.requests + row.in_flight).sum();
    vec![
        layer(requests, unmatched, report.seconds),
        tracing_layer(&inner.probe.reach(), wants_runtime(inner.config.console)),
        hooks(&Hooked::of(instance)),
        workers(inner.coverage()),
        blocking_pool(
            Source::of_build(inner.config.stacks != Stacks::Off),
            &inner.pools.reports().now(),
            report.seconds,
        ),
        stall_stacks(inner.config.stacks, no_perf_events),
        memory(inner.config.heap, allocator::lacks()),
        door(&inner.config),
        console(inner.config.console),
    ]
}

/// Of so many requests it is known whether most matched a route.
const ENOUGH: u64 = 20;

fn layer(requests: u64, unmatched: u64, seconds: f64) -> Finding {
    let what = "layer";
    match requests {
        0 if seconds < EARLY => Finding::good(what, "no request has come yet"),
        0 => Finding::warning(
            what,
            format!("no request was seen in {seconds:.0} s: no handler has a row"),
            "put .layer(thermograph.layer()) on the router, as its last layer",
        ),
        _ if requests >= ENOUGH && unmatched > requests / 2 => Finding::warning(
            what,
            format!(
                "{unmatched} of {requests} requests matched no route: around the whole app, a layer \
                 does not know the route, and handlers are not told apart"
            ),
            "put .layer(thermograph.layer()) on the Router itself, after its routes, not around it \
             and not in a ServiceBuilder around the app",
        ),
        _ => Finding::good(what, format!("{requests} requests were seen")),
    }
}

/// Returns whether a console could attach: then Tokio's own spans are wanted as well.
fn wants_runtime(console: ConsoleMode) -> bool {
    console != ConsoleMode::Off && BuildInfo::CURRENT.tokio_unstable
}

fn tracing_layer(reach: &Reach, wants_runtime: bool) -> Finding {
    const INSTALL: &str = "tracing_subscriber::registry().with(thermograph.tracing_layer()).init()";
    let what = "tracing_layer";
    if !reach.has_layer {
        let says = "no spans can be captured, and tokio-console stays empty";
        return Finding::warning(what, says, INSTALL);
    }
    if let Some(lost) = lost(reach.compiled, reach.compiled == LevelFilter::TRACE, wants_runtime) {
        let level = reach.compiled.to_string().to_uppercase();
        let says = format!("on, but tracing is compiled without anything below {level}: {lost}");
        let mend = "in Cargo.toml: drop the features max_level_.. and release_max_level_.. of \
                    tracing (cargo tree -e features -i tracing tells which crate sets them)";
        return Finding::warning(what, says, mend);
    }
    if let Some(passed) = reach.own.or(reach.is_global().then_some(reach.global))
        && let Some(lost) = lost(passed.spans, passed.runtime, wants_runtime)
    {
        let says = format!("on, but a filter of the whole subscriber comes before it: {lost}");
        let mend = "put the filter on the layer that it is meant for: \
                    .with(fmt::layer().with_filter(EnvFilter::new(\"info\"))) in place of \
                    .with(EnvFilter::new(\"info\")) or with_max_level(..)";
        return Finding::warning(what, says, mend);
    }
    if reach.is_global() {
        return Finding::good(what, "on: spans and tasks can be seen");
    }
    let says = match (reach.own, reach.has_global) {
        (_, true) => {
            "made, but another subscriber is the global default: no spans can be captured but \
             of threads that set this one, and tokio-console stays empty"
        }
        (Some(_), false) => {
            "on, but its subscriber is not the global default: spans and tasks can be seen of \
             those threads only that set it"
        }
        (None, false) => {
            "made, but no subscriber has it: no spans can be captured, and tokio-console stays \
             empty"
        }
    };
    Finding::warning(what, says, INSTALL)
}

/// What is missing where spans of the app come down to a level only, and Tokio's perhaps not.
fn lost(spans: LevelFilter, has_runtime: bool, wants_runtime: bool) -> Option<String> {
    let has_spans = spans >= LevelFilter::DEBUG;
    let console = (wants_runtime && !has_runtime).then_some("tokio-console stays empty");
    let spans = (!has_spans).then(|| match spans {
        LevelFilter::OFF => "no spans can be captured".to_owned(),
        level => format!("spans below {} cannot be captured", level.to_string().to_uppercase()),
    });
    let parts: Vec<_> = spans.into_iter().chain(console.map(str::to_owned)).collect();
    (!parts.is_empty()).then(|| parts.join(", and "))
}

/// What is known of the runtime's hooks.
#[expect(clippy::struct_excessive_bools, reason = "facts that do not depend on each other")]
#[derive(Clone, Debug, Default)]
struct Hooked {
    tokio_unstable: bool,
    is_installed: bool,
    /// True if waits for a worker are known: by the hooks, a timed listener or an estimate.
    are_waits_told: bool,
    /// True if any of them was called.
    is_called: bool,
    /// Kinds that are not called though they should be.
    missing: Vec<&'static str>,
    /// True if the app handed over hooks of its own.
    has_own: bool,
    /// True if requests were polled in tasks that no hook told of.
    is_untold: bool,
}

impl Hooked {
    fn of(instance: &Instance) -> Self {
        let inner = &instance;
        let tokio_unstable = BuildInfo::CURRENT.tokio_unstable;
        let are_waits_told = inner.ledger.waits().is_told();
        let hooked = Self { tokio_unstable, are_waits_told, ..Self::default() };
        #[cfg(tokio_unstable)]
        if let Some(shared) = inner.hooks.get() {
            let called = shared.called();
            return Self {
                is_installed: inner.is_hooked(),
                is_called: called.any,
                missing: called.missing,
                has_own: called.has_own,
                is_untold: inner.ledger.overruns().is_untold(),
                ..hooked
            };
        }
        hooked
    }
}

fn hooks(hooked: &Hooked) -> Finding {
    const OWN: &str = "set the app's own hooks with thermograph.hooks().on_task_spawn(..) and the \
                       like before install(), or call in them the callbacks that install() returns";
    let (what, install) = ("hooks", "thermograph.hooks().install(&mut runtime_builder)");
    let Hooked { tokio_unstable, is_called, missing, has_own, is_untold, .. } = hooked;
    if !hooked.is_installed {
        let says = if hooked.are_waits_told {
            "tasks have no names, and what a stall costs others is known of requests only"
        } else {
            "tasks have no names, and what a stall costs others is not known"
        };
        if *tokio_unstable {
            return Finding::warning(what, format!("not installed: {says}"), install);
        }
        let says = format!("install() does nothing without --cfg tokio_unstable: {says}");
        let mend = format!("build with --cfg tokio_unstable, and {install}");
        return Finding::warning(what, says, mend);
    }
    if !missing.is_empty() {
        let says = format!(
            "installed, but the runtime does not call {}: hooks that the app set on the builder \
             after install() replaced them",
            missing.join(", ")
        );
        return Finding::warning(what, says, OWN);
    }
    if *is_untold && !is_called {
        let says = "installed, but never called, while requests are served: hooks that the app set \
                    on the builder after install() replaced them, or another runtime serves";
        return Finding::warning(
            what,
            says,
            format!("{OWN}; {install} for the runtime that serves"),
        );
    }
    if *is_untold {
        let says = "installed, but some requests are served by tasks that they are not told of: of \
                    another runtime, or of a LocalSet, which has no hooks";
        return Finding::warning(what, says, format!("{install} for each runtime that serves"));
    }
    if !is_called {
        return Finding::good(what, "installed: no task has been spawned yet");
    }
    let says = "installed: tasks have names, and stalls the harm that they do";
    if *has_own {
        return Finding::good(what, format!("{says}; hooks of the app's own are called too"));
    }
    let says = format!("{says}; hooks that the app set on the builder before install() are gone");
    Finding::good(what, says)
}

/// Whether work outside of handlers' polls is seen, such as spawned tasks without the hooks.
fn workers(coverage: Coverage) -> Finding {
    let what = "workers";
    let gap = coverage.gap().unwrap_or_default();
    match coverage {
        Coverage::Tasks => Finding::good(what, "the hooks tell of every task"),
        Coverage::Nothing => Finding::warning(
            what,
            gap,
            "call thermograph.serve() or thermograph.layer() within the runtime, or install the hooks",
        ),
        Coverage::Some { .. } => Finding::warning(
            what,
            gap,
            "they are found as they take work; a worker that is busy all the time stays unknown",
        ),
        Coverage::Waits { .. } => {
            Finding::warning(what, gap, "link Tokio into the program itself, or install the hooks")
        }
        Coverage::Workers { all } => Finding::good(
            what,
            format!("{all} workers are watched outside of handlers, without names of tasks; {gap}"),
        ),
    }
}

/// Reports how much is known of the blocking pools of the app's runtimes.
fn blocking_pool(source: Source, pools: &[Standing], seconds: f64) -> Finding {
    const REBUILD: &str = "build with --cfg tokio_unstable";
    let what = "blocking_pool";
    let unstable = "queue depth and counts of threads are unstable metrics of Tokio's";
    match (source, pools) {
        (Source::Nothing, _) => Finding::warning(
            what,
            format!("nothing is known of it: {unstable}, and no stacks are taken"),
            REBUILD,
        ),
        (_, []) if seconds < EARLY => Finding::good(what, "no runtime is known yet"),
        (_, []) => Finding::warning(
            what,
            "no runtime is known: a blocking pool that is exhausted is not seen",
            "call thermograph.serve() or thermograph.layer() within the runtime",
        ),
        (Source::Stacks, _) => Finding::warning(
            what,
            format!(
                "its threads are counted by their stacks, and the queue's depth is not known: \
                 {unstable}"
            ),
            REBUILD,
        ),
        (Source::Counters, pools) => {
            let told: Vec<_> = pools.iter().map(pool).collect();
            Finding::good(what, told.join("; "))
        }
    }
}

/// How busy a pool is.
fn pool(pool: &Standing) -> String {
    let name = pool.name.as_deref().unwrap_or("?");
    let limit = pool.limit.map_or_else(
        || "the limit was never reached".to_owned(),
        |limit| format!("{limit} is the limit"),
    );
    pool.figures.map_or_else(
        || format!("`{name}`: not looked at yet"),
        |Figures { threads, idle, queued }| {
            let (busy, queued) = (threads - idle, queued.unwrap_or(0));
            format!("`{name}`: {busy} of {threads} threads busy, {queued} queued; {limit}")
        },
    )
}

/// The reason that the kernel does not copy stacks of threads that compute; `None` if it does.
fn no_perf_events() -> Option<String> {
    #[cfg(sampler)]
    let why = thermograph_sampler::perf_events_allowed().err();
    #[cfg(not(sampler))]
    let why = Some("this system has none");
    why.map(|why| why.to_string())
}

fn stall_stacks(stacks: Stacks, no_perf_events: impl FnOnce() -> Option<String>) -> Finding {
    let what = "stall_stacks";
    match stacks {
        Stacks::Auto => Finding::good(
            what,
            no_perf_events().map_or_else(
                || {
                    "on: waiting threads are read, computing ones have perf events; a signal is sent only as a long system call returns"
                        .to_owned()
                },
                |why| {
                    format!(
                        "on: waiting threads are read without a signal, computing ones get one \
                         signal, for want of perf events: {why}"
                    )
                },
            ),
        ),
        Stacks::Signal => Finding::good(
            what,
            "on: waiting threads are read without a signal, computing ones get one signal",
        ),
        Stacks::Off => Finding::warning(
            what,
            "off, as configured: stalls have no stacks",
            "diagnostics.stacks = \"auto\"",
        ),
    }
}

fn memory(mode: HeapMode, lacking: Option<NoHeap>) -> Finding {
    let what = "allocator";
    match (mode, lacking) {
        (HeapMode::Always, Some(lacking)) => {
            let says = format!("heap = \"always\", but {}", lacking.says());
            Finding::bad(what, says, lacking.mend())
        }
        (_, Some(lacking)) => Finding::warning(what, lacking.says(), lacking.mend()),
        (HeapMode::OnDemand, None) => {
            Finding::good(what, "jemalloc: memory is sampled while somebody captures it")
        }
        (HeapMode::Always, None) => Finding::good(what, "jemalloc: memory is sampled always"),
        (HeapMode::Off, None) => Finding::warning(
            what,
            "jemalloc, but memory is not sampled, as configured",
            "diagnostics.heap = \"on-demand\"",
        ),
    }
}

fn door(config: &Config) -> Finding {
    let (what, listen) = ("door", config.listen.ip());
    if config.token.is_none() {
        return Finding::good(what, format!("{listen}: this machine only, without a token"));
    }
    if config.token.len() < LONG {
        return Finding::warning(
            what,
            format!("{listen}: with a token that is short enough to be guessed"),
            "THERMOGRAPH_DIAGNOSTICS_TOKEN=$(openssl rand -hex 16)",
        );
    }
    let clear = if listen.is_loopback() { "" } else { ", which it takes in clear text" };
    Finding::good(what, format!("{listen}: with a token{clear}"))
}

fn console(mode: ConsoleMode) -> Finding {
    let what = "console";
    match mode {
        ConsoleMode::OnAttach => Finding::good(what, "on-attach: costs nothing until then"),
        ConsoleMode::Off => Finding::good(what, "off, as configured"),
        ConsoleMode::Always => Finding::warning(
            what,
            "always: takes up to a third of a small handler's throughput",
            "diagnostics.console = \"on-attach\"",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Thermograph, checks::State, config::Token, reach::Passed};

    fn says(finding: &Finding, state: State, part: &str) {
        assert_eq!(finding.state, state, "{finding:?}");
        let whole = format!("{} {}", finding.says, finding.mend.as_deref().unwrap_or_default());
        assert!(whole.contains(part), "{part}: {finding:?}");
        assert_eq!(finding.mend.is_some(), state != State::Good, "{finding:?}");
    }

    #[test]
    fn a_layer_that_sees_nothing_for_long_is_missed() {
        says(&layer(0, 0, 5.0), State::Good, "yet");
        says(&layer(0, 0, 100.0), State::Warning, ".layer(thermograph.layer())");
        says(&layer(7, 0, 100.0), State::Good, "7 requests");
    }

    #[test]
    fn layer_around_the_whole_app_is_known_by_requests_without_a_route() {
        says(&layer(60, 60, 5.0), State::Warning, "on the Router itself, after its routes");
        says(&layer(60, 31, 5.0), State::Warning, "31 of 60");
        // Scanners, and a fallback that serves files.
        says(&layer(60, 30, 5.0), State::Good, "60 requests");
        says(&layer(19, 19, 5.0), State::Good, "19 requests");
    }

    #[test]
    fn blocking_pool_is_shown_as_far_as_it_is_known() {
        let standing = Standing {
            runtime: "1".to_owned(),
            name: Some("app".to_owned()),
            figures: Some(Figures { threads: 4, idle: 1, queued: Some(2) }),
            limit: Some(4),
            is_exhausted: false,
            exhausted: std::time::Duration::ZERO,
            waits: crate::pool::Waits::default(),
        };
        let pools = [standing];
        says(
            &blocking_pool(Source::Counters, &pools, 5.0),
            State::Good,
            "`app`: 3 of 4 threads busy, 2 queued; 4 is the limit",
        );
        says(&blocking_pool(Source::Counters, &[], 5.0), State::Good, "yet");
        says(&blocking_pool(Source::Counters, &[], 100.0), State::Warning, "within the runtime");
        says(&blocking_pool(Source::Stacks, &pools, 5.0), State::Warning, "--cfg tokio_unstable");
        says(&blocking_pool(Source::Nothing, &[], 5.0), State::Warning, "nothing is known");
    }

    /// A layer that everything reaches.
    const REACHED: Reach = Reach {
        has_layer: true,
        compiled: LevelFilter::TRACE,
        has_global: true,
        global: Passed::ALL,
        own: Some(Passed::ALL),
    };
    const NOTHING: Passed = Passed { spans: LevelFilter::OFF, runtime: false };

    #[test]
    fn a_layer_that_spans_do_not_reach_is_a_warning() {
        let info = Passed { spans: LevelFilter::INFO, runtime: false };
        let filtered = Reach { global: info, own: Some(info), ..REACHED };
        for reach in [filtered, Reach { own: None, ..filtered }] {
            let found = tracing_layer(&reach, true);
            says(&found, State::Warning, "spans below INFO cannot be captured, and tokio-console");
            says(&found, State::Warning, "fmt::layer().with_filter(");
            let found = tracing_layer(&reach, false);
            assert!(!found.says.contains("tokio-console"), "{found:?}");
        }
        let debug = Passed { spans: LevelFilter::DEBUG, runtime: false };
        let debug = Reach { global: debug, own: Some(debug), ..REACHED };
        says(&tracing_layer(&debug, true), State::Warning, "tokio-console stays empty");
        says(&tracing_layer(&debug, false), State::Good, "on");
        let silent = Reach { global: NOTHING, own: Some(NOTHING), ..REACHED };
        says(&tracing_layer(&silent, true), State::Warning, "no spans can be captured");

        let compiled = Reach { compiled: LevelFilter::INFO, ..REACHED };
        says(&tracing_layer(&compiled, true), State::Warning, "release_max_level");
        says(&tracing_layer(&compiled, true), State::Warning, "without anything below INFO");
        let compiled = Reach { compiled: LevelFilter::DEBUG, ..REACHED };
        says(&tracing_layer(&compiled, true), State::Warning, "tokio-console stays empty");
        says(&tracing_layer(&compiled, false), State::Good, "on");
    }

    #[test]
    fn a_filter_beside_the_layer_is_found() {
        use tracing_subscriber::layer::SubscriberExt as _;
        let thermograph = Thermograph::builder().build().expect("valid");
        let layer = thermograph.tracing_layer();
        let filtered = tracing_subscriber::registry().with(layer).with(LevelFilter::INFO);
        let subscriber = tracing::Dispatch::new(filtered);
        let found = &findings(&thermograph.instance)[1];
        drop(subscriber);
        says(found, State::Warning, "a filter of the whole subscriber");
        says(found, State::Warning, "spans below INFO");
    }

    #[test]
    fn a_subscriber_that_is_not_the_global_one_is_a_warning() {
        let other = Reach { global: NOTHING, ..REACHED };
        says(&tracing_layer(&other, true), State::Warning, "another subscriber");
        let scoped = Reach { has_global: false, ..other };
        says(&tracing_layer(&scoped, true), State::Warning, "not the global default");
        let lost = Reach { own: None, ..scoped };
        says(&tracing_layer(&lost, true), State::Warning, "no subscriber has it");
        says(&tracing_layer(&lost, true), State::Warning, ".init()");
    }

    #[test]
    fn what_the_app_did_not_put_on_is_named() {
        let absent = Reach { has_layer: false, ..REACHED };
        says(&tracing_layer(&absent, true), State::Warning, "thermograph.tracing_layer()");
        says(&tracing_layer(&REACHED, true), State::Good, "spans");
        let absent = Hooked { tokio_unstable: true, ..Hooked::default() };
        says(&hooks(&absent), State::Warning, "hooks().install(");
        says(&hooks(&Hooked::default()), State::Warning, "--cfg tokio_unstable");
    }

    #[test]
    #[cfg(tokio_unstable)]
    fn hooks_are_installed_by_install_alone() {
        let thermograph = Thermograph::builder().build().expect("valid");
        // A timed listener and an estimate report waits, too.
        thermograph.instance.ledger.waits().are_told();
        let hooked = Hooked::of(&thermograph.instance);
        assert!(!hooked.is_installed && !thermograph.instance.is_hooked(), "{hooked:?}");
        says(&hooks(&hooked), State::Warning, "known of requests only");
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let _callbacks = thermograph.hooks().install(&mut runtime);
        assert!(Hooked::of(&thermograph.instance).is_installed);
    }

    #[test]
    fn hooks_that_are_not_called_are_a_warning() {
        let installed = Hooked { tokio_unstable: true, is_installed: true, ..Hooked::default() };
        says(&hooks(&installed), State::Good, "no task has been spawned yet");
        let untold = Hooked { is_untold: true, ..installed.clone() };
        says(&hooks(&untold), State::Warning, "never called");
        let called = Hooked { is_called: true, ..installed };
        says(&hooks(&called), State::Good, "before install() are gone");
        says(&hooks(&Hooked { has_own: true, ..called.clone() }), State::Good, "are called too");
        says(&hooks(&Hooked { is_untold: true, ..called.clone() }), State::Warning, "LocalSet");
        let missing = vec!["on_task_spawn", "on_task_terminate"];
        let replaced = hooks(&Hooked { missing, ..called });
        says(&replaced, State::Warning, "on_task_spawn, on_task_terminate");
        says(&replaced, State::Warning, "callbacks that install() returns");
    }

    #[test]
    fn what_was_configured_is_told_with_what_it_costs() {
        let off = stall_stacks(Stacks::Off, || unreachable!("not asked"));
        says(&off, State::Warning, "diagnostics.stacks = \"auto\"");
        let signal = stall_stacks(Stacks::Signal, || unreachable!("not asked"));
        says(&signal, State::Good, "computing ones get one signal");
        says(
            &stall_stacks(Stacks::Auto, || None),
            State::Good,
            "perf events; a signal is sent only",
        );
        let refused = stall_stacks(Stacks::Auto, || Some("refused".to_owned()));
        says(&refused, State::Good, "for want of perf events: refused");
        says(&console(ConsoleMode::Always), State::Warning, "a third");
        says(&console(ConsoleMode::OnAttach), State::Good, "nothing");
        says(&console(ConsoleMode::Off), State::Good, "off");
    }

    #[test]
    fn an_allocator_that_cannot_be_asked_is_worse_where_it_always_should() {
        for lacking in [NoHeap::Feature, NoHeap::Allocator, NoHeap::Profiling] {
            says(&memory(HeapMode::OnDemand, Some(lacking)), State::Warning, "prof:true");
            says(&memory(HeapMode::Always, Some(lacking)), State::Bad, "heap = \"always\"");
        }
        says(&memory(HeapMode::OnDemand, None), State::Good, "while somebody");
        says(&memory(HeapMode::Always, None), State::Good, "always");
        says(&memory(HeapMode::Off, None), State::Warning, "on-demand");
    }

    #[test]
    fn a_short_token_can_be_guessed() {
        let with = |listen: [u8; 4], token: &str| {
            let listen = (listen, 6060).into();
            door(&Config { listen, token: Token::new(token), ..Config::default() })
        };
        says(&with([127, 0, 0, 1], ""), State::Good, "this machine only");
        says(&with([0, 0, 0, 0], "hunter2"), State::Warning, "openssl rand");
        let long = "0123456789abcdef";
        says(&with([0, 0, 0, 0], long), State::Good, "in clear text");
        let local = with([127, 0, 0, 1], long);
        says(&local, State::Good, "with a token");
        assert!(!local.says.contains(long) && !local.says.contains("clear"));
    }
}
