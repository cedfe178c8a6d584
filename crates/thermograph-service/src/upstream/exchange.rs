//! A request, from its model's name to an answer: who is asked, and who else if that fails.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::time;
use twox_hash::XxHash3_64;

use super::{
    Answer, Document, Endpoint, Route, Settings, StatusRule, StickyConfig, Upstreams,
    attempt::{Task, attempt},
    balance::{Asked, Choice},
    failure::{Cause, Failure},
    headers,
};
use crate::{call::Call, error::ApiError};

/// A request that is to be passed on.
pub(crate) struct Exchange<'a> {
    pub(crate) route: &'a Route,
    pub(crate) endpoint: Endpoint,
    /// The client's headers.
    pub(crate) headers: &'a HeaderMap,
    pub(crate) document: &'a Document,
    pub(crate) call: &'a Call,
}

/// An answer, and the time that upstreams had the request.
pub(crate) struct Exchanged {
    pub(crate) answer: Answer,
    pub(crate) upstream_time: Duration,
    /// For the log, should the answer break off.
    pub(super) request_id: Option<HeaderValue>,
    /// Time of silence after which a stream has a comment.
    pub(super) keep_alive: Option<Duration>,
}

/// What goes on while a request is passed on.
struct Course<'a> {
    settings: &'a Settings,
    route: &'a Route,
    task: Task<'a>,
    asked: Asked,
    key: Option<u64>,
    upstream_time: Duration,
}

impl Upstreams {
    /// Passes a request on until an upstream answers, or none is left to ask.
    pub(crate) async fn exchange(&self, exchange: Exchange<'_>) -> Result<Exchanged, ApiError> {
        let Exchange { route, endpoint, headers, document, call } = exchange;
        let started = call.started();
        let settings = self.settings();
        settings.budget.deposit();
        let key = route.key(headers, document);
        // A key of this server is for nobody else, in whatever scheme it is written.
        let authorization = headers.get(header::AUTHORIZATION);
        let authorization = authorization.filter(|value| !headers::holds_our_key(value));
        let bill = call.bill();
        let gateway = &settings.config;
        let task =
            Task { gateway, endpoint, client: headers, authorization, document, bill, started };
        let (asked, upstream_time) = (Asked::default(), Duration::ZERO);
        let mut course = Course { settings: &settings, route, task, asked, key, upstream_time };
        let result = course.run().await;
        let upstream_time = course.upstream_time;
        let request_id = headers::request_id(headers).cloned();
        let answer = match result {
            Ok(answer) => answer,
            Err(Refusal::Answer(answer)) => *answer,
            Err(Refusal::Error(error, kind)) => {
                route.meters.of(endpoint).failed(started.elapsed(), kind);
                return Err(error);
            }
        };
        let keep_alive = settings.config.stream_keep_alive;
        Ok(Exchanged { answer, upstream_time, request_id, keep_alive })
    }
}

/// What the client gets where nobody could answer.
enum Refusal {
    /// What an upstream said.
    Answer(Box<Answer>),
    /// What we say, and its kind in metrics.
    Error(ApiError, &'static str),
}

impl Course<'_> {
    /// How long an upstream is left alone that takes no more, does not say how long, and is not
    /// the only one: else it would be asked first again and again.
    const REST: Duration = Duration::from_secs(1);

    async fn run(&mut self) -> Result<Answer, Refusal> {
        let (mut tries, mut rested) = (0, Duration::ZERO);
        let mut last: Option<Failure> = None;
        loop {
            let Some(choice) = self.route.choose(self.asked, self.key) else {
                // What the last one said tells more than that nobody is left.
                if let Some(last) = last {
                    return Err(last.into());
                }
                let Some(rest) = self.rest(rested) else { return Err(self.nobody()) };
                rested += rest;
                time::sleep(rest + self.jitter(0)).await;
                continue;
            };
            let failure = match self.ask(choice, tries == 0).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let (upstream, cause) = (failure.upstream.name(), &failure.cause);
            let request_id = headers::text(headers::request_id(self.task.client));
            tracing::info!(upstream, %cause, request_id, tries, "an attempt failed");
            let rests = failure.cause.is_limit_without_end() || failure.cause.is_of_account();
            if rests && self.route.has_another(self.asked) {
                failure.upstream.rest(Self::REST);
            }
            let config = &self.settings.config;
            let again = tries < config.retries
                && failure.may_retry(self.task.document.is_stored(), config.retry_timeouts);
            let Some(wait) = self.wait(&failure, tries).filter(|_| again) else {
                return Err(failure.into());
            };
            if failure.departed && !self.settings.budget.withdraw() {
                self.route.meters.not_retried();
                return Err(failure.into());
            }
            self.route.meters.retried(&failure.cause);
            tries += 1;
            last = Some(failure);
            time::sleep(wait).await;
        }
    }

    /// How long to wait before the next try; none where that would be too long.
    fn wait(&self, failure: &Failure, tries: u32) -> Option<Duration> {
        let wait = self.wait_for(failure, tries)?;
        let most = failure.upstream.config.request_timeout;
        (self.task.started.elapsed() + wait < most).then_some(wait)
    }

    /// The same, without a look at how much time is left.
    fn wait_for(&self, failure: &Failure, tries: u32) -> Option<Duration> {
        let config = &self.settings.config;
        let others = self.route.has_another(self.asked);
        let jitter = self.jitter(tries);
        match &failure.cause {
            Cause::Unauthorized
                if !StatusRule::any(&config.elsewhere_on, StatusCode::UNAUTHORIZED) =>
            {
                None
            }
            // It never got anywhere, and another one is there.
            Cause::Connect(_) | Cause::Full | Cause::Unauthorized | Cause::Elsewhere(_)
                if others =>
            {
                Some(Duration::ZERO)
            }
            Cause::Unauthorized | Cause::Elsewhere(_) => None,
            Cause::Status(answer) if !others => match headers::retry_after(&answer.headers) {
                Some(asked) if asked > config.longest_wait => None,
                Some(asked) => Some(asked + jitter),
                None => Some(jitter),
            },
            _ => Some(jitter),
        }
    }

    /// Full jitter: who failed together does not come again together.
    fn jitter(&self, tries: u32) -> Duration {
        let most = self.settings.config.backoff.saturating_mul(1 << tries);
        most.mul_f64(fastrand::f64())
    }

    /// How long to wait until an upstream can be asked that only wants to be left alone for a
    /// moment, where nobody else can be asked; none where that would be too long in all.
    fn rest(&self, rested: Duration) -> Option<Duration> {
        let rest = self.route.rests_for()?.max(Duration::from_millis(1));
        (rested + rest <= self.settings.config.longest_wait).then_some(rest)
    }

    /// Asks the one that was chosen; at the first try also a second one, if that takes too long.
    async fn ask(&mut self, choice: Choice<'_>, first: bool) -> Result<Answer, Failure> {
        self.asked.add(&choice);
        let result = match self.route.hedge_after.filter(|_| first) {
            None => self.attempt(choice).await,
            Some(after) => {
                let (result, asked) = self.hedged(choice, after).await;
                self.asked = asked;
                result
            }
        };
        self.upstream_time += match &result {
            Ok(answer) => answer.upstream_time,
            Err(failure) => failure.upstream_time,
        };
        result
    }

    async fn attempt(&self, choice: Choice<'_>) -> Result<Answer, Failure> {
        let name = choice.member.name(self.task.document);
        let mut busy = choice.busy;
        // The future is large: a second `await` would make this one twice as large.
        loop {
            let failure = match attempt(&self.task, busy, name.as_ref()).await {
                Err(failure) if matches!(failure.cause, Cause::StreamOptions) => failure,
                result => return result,
            };
            failure.upstream.refuses_stream_options();
            let Some(again) = failure.upstream.enter() else { return Err(failure) };
            busy = again;
        }
    }

    /// Asks a second one where the first has not answered `after` this time; and who was asked.
    async fn hedged(
        &self,
        choice: Choice<'_>,
        after: Duration,
    ) -> (Result<Answer, Failure>, Asked) {
        let mut one = Box::pin(self.attempt(choice));
        tokio::select! {
            biased;
            // Cancel-safe: it is gone on with below.
            result = &mut one => return (result, self.asked),
            () = time::sleep(after) => {}
        }
        let Some(second) = self.second() else { return (one.await, self.asked) };
        let mut asked = self.asked;
        asked.add(&second);
        let other = Box::pin(self.attempt(second));
        (first_answer(one, other).await, asked)
    }

    /// A second upstream for a request that takes long, if there is one and the budget allows it.
    fn second(&self) -> Option<Choice<'_>> {
        if self.task.document.is_stored() || !self.route.has_another(self.asked) {
            return None;
        }
        if !self.settings.budget.withdraw() {
            self.route.meters.not_retried();
            return None;
        }
        let choice = self.route.choose_another(self.asked)?;
        self.route.meters.hedged();
        Some(choice)
    }

    /// All breakers are open.
    fn nobody(&self) -> Refusal {
        let back = self.route.back_in().max(Duration::from_millis(1));
        let message = "no upstream of this model is available";
        let error = ApiError::overloaded(message).retry_after(back);
        Refusal::Error(error, "unavailable")
    }
}

/// The answer that comes first, or the failure that comes last. The other one is dropped.
async fn first_answer(
    mut one: impl Future<Output = Result<Answer, Failure>> + Unpin,
    mut other: impl Future<Output = Result<Answer, Failure>> + Unpin,
) -> Result<Answer, Failure> {
    tokio::select! {
        // Cancel-safe: the one that goes on is awaited, or dropped on purpose.
        result = &mut one => match result {
            Ok(answer) => Ok(answer),
            Err(_) => other.await,
        },
        result = &mut other => match result {
            Ok(answer) => Ok(answer),
            Err(_) => one.await,
        },
    }
}

impl Route {
    /// What requests have in common that go to the same upstream.
    fn key(&self, headers: &HeaderMap, document: &Document) -> Option<u64> {
        match self.sticky.as_ref()? {
            StickyConfig::Header(name) => Some(XxHash3_64::oneshot(headers.get(name)?.as_bytes())),
            StickyConfig::Prefix(most) => {
                let prefix = document.prefix(*most);
                (!prefix.is_empty()).then(|| XxHash3_64::oneshot(prefix))
            }
        }
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        let status = failure.cause.status();
        match failure.cause {
            Cause::Status(answer) | Cause::Elsewhere(answer) => Self::Answer(answer),
            cause @ Cause::Full => Self::Error(ApiError::overloaded(cause.told()), cause.outcome()),
            cause => {
                let kind = cause.outcome();
                Self::Error(ApiError::upstream(status, kind, cause.told()), kind)
            }
        }
    }
}
