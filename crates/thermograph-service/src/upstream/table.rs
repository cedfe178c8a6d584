//! Which model is where: read by every request, replaced whole when something changes.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use http::HeaderMap;

use super::{
    Document, MemberConfig, RouteConfig, StickyConfig, Upstream, balance::Asked, document::Name,
    headers::OF_PROVIDERS, listed::Listed, meters::ModelMeters,
};
use crate::pattern::Pattern;

/// The upstreams, and the models that they have.
#[derive(Default)]
pub(super) struct Table {
    pub(super) upstreams: BTreeMap<String, Arc<Upstream>>,
    /// Models by name.
    pub(super) routes: HashMap<String, Arc<Route>>,
    /// Models by pattern, the most specific first.
    patterns: Vec<(Pattern, Arc<Route>)>,
}

/// Where a model is.
pub(crate) struct Route {
    pub(super) members: Vec<Member>,
    /// Asked in this order when none of the members can answer.
    pub(super) fallbacks: Vec<Member>,
    pub(super) sticky: Option<StickyConfig>,
    pub(super) hedge_after: Option<Duration>,
    pub(super) meters: Arc<ModelMeters>,
    pub(super) listed: Listed,
}

/// An upstream that has a model.
pub(super) struct Member {
    pub(super) upstream: Arc<Upstream>,
    pub(super) weight: f64,
    name: Called,
}

/// Name of a model at an upstream.
enum Called {
    Same,
    Other(Name),
    /// As another pattern has it, with what `*` stands for in the model's name.
    Pattern(Pattern, Pattern),
}

impl Table {
    /// Puts the configured models in, and those that upstreams list and nobody configured.
    pub(super) fn new(
        upstreams: BTreeMap<String, Arc<Upstream>>,
        models: &BTreeMap<String, RouteConfig>,
        before: &Self,
    ) -> Self {
        let configured = models.iter().map(|(model, config)| {
            let route = Route::configured(model, config, &upstreams, before.meters(model));
            (model.clone(), Arc::new(route))
        });
        let (patterns, routes): (Vec<_>, Vec<_>) =
            configured.partition(|(model, _)| Pattern::is_one(model));
        let mut routes: HashMap<_, _> = routes.into_iter().collect();
        let mut found: BTreeMap<String, Vec<(&Arc<Upstream>, Listed)>> = BTreeMap::new();
        for upstream in upstreams.values().filter(|upstream| upstream.config.discover) {
            for listed in upstream.listed.load().iter() {
                found.entry(listed.id.clone()).or_default().push((upstream, listed.clone()));
            }
        }
        let pattern = |(model, route): (String, _)| Some((Pattern::new(&model)?, route));
        let mut patterns: Vec<_> = patterns.into_iter().filter_map(pattern).collect();
        patterns.sort_by_key(|(pattern, _)| Reverse(pattern.literal()));
        for (model, having) in found {
            if patterns.iter().any(|(pattern, _)| pattern.literal() > 0 && pattern.fits(&model)) {
                continue;
            }
            routes.entry(model).or_insert_with_key(|model| {
                Arc::new(Route::discovered(&having, before.meters(model)))
            });
        }
        Self { upstreams, routes, patterns }
    }

    /// Route of a model by its name.
    pub(super) fn by_name(&self, model: &str) -> Option<&Arc<Route>> {
        self.routes.get(model)
    }

    /// Route of a model by the pattern with the most literal characters that it fits.
    pub(super) fn by_pattern(&self, model: &str) -> Option<&Arc<Route>> {
        let mut patterns = self.patterns.iter();
        patterns.find(|(pattern, _)| pattern.fits(model)).map(|(_, route)| route)
    }

    /// Returns whether there is no route at all.
    pub(super) fn is_empty(&self) -> bool {
        self.routes.is_empty() && self.patterns.is_empty()
    }

    /// The metrics of a model, which outlive the table.
    fn meters(&self, model: &str) -> Arc<ModelMeters> {
        let patterns = self.patterns.iter().map(|(_, route)| route);
        let mut routes = self.routes.get(model).into_iter().chain(patterns);
        let known = routes.find(|route| route.listed.id == model);
        let known = known.map(|route| Arc::clone(&route.meters));
        known.unwrap_or_else(|| Arc::new(ModelMeters::new(model)))
    }
}

impl Route {
    /// A model with this route as it is listed.
    pub(crate) fn listed(&self, model: &str) -> Listed {
        if self.listed.id == model { self.listed.clone() } else { Listed::own(model) }
    }

    /// Whether an upstream is told the client's own key: what it answers is that client's.
    pub(crate) fn is_personal(&self) -> bool {
        let mut all = self.members.iter().chain(&self.fallbacks);
        all.any(|member| member.upstream.config.forward_authorization)
    }

    /// Headers of a client that its upstreams are told, those of providers' APIs and the configured ones: an
    /// answer may depend on them, and be for that client only.
    pub(crate) fn forwarded(&self, client: &HeaderMap) -> Vec<u8> {
        let members = self.members.iter().chain(&self.fallbacks);
        let configured = members.flat_map(|member| &member.upstream.forwarded);
        let mut forwarded = Vec::new();
        for name in OF_PROVIDERS.iter().chain(configured) {
            for value in client.get_all(name) {
                forwarded.extend_from_slice(name.as_str().as_bytes());
                // In no name and no value.
                forwarded.push(0);
                forwarded.extend_from_slice(value.as_bytes());
                forwarded.push(0);
            }
        }
        forwarded
    }

    fn configured(
        model: &str,
        config: &RouteConfig,
        upstreams: &BTreeMap<String, Arc<Upstream>>,
        meters: Arc<ModelMeters>,
    ) -> Self {
        let RouteConfig { upstreams: members, fallbacks, rename, sticky, hedge_after } = config;
        let put = |members: &[MemberConfig]| {
            let member = |member: &MemberConfig| {
                let name = member.rename.as_ref().or(rename.as_ref());
                Some(Member {
                    upstream: Arc::clone(upstreams.get(&member.name)?),
                    weight: f64::from(member.weight),
                    name: name.map_or(Called::Same, |name| Called::new(model, name)),
                })
            };
            members.iter().filter_map(member).collect()
        };
        Self {
            members: put(members),
            fallbacks: put(fallbacks),
            sticky: sticky.clone(),
            hedge_after: *hedge_after,
            meters,
            listed: Listed::own(model),
        }
    }

    /// Whether somebody who was not asked yet could answer.
    pub(super) fn has_another(&self, asked: Asked) -> bool {
        let all = self.members.iter().chain(&self.fallbacks).enumerate();
        let mut others = all.filter(|(place, _)| !asked.has(*place));
        others.any(|(_, member)| member.upstream.is_available())
    }

    /// When the first of them can be asked again.
    pub(super) fn back_in(&self) -> Duration {
        let all = self.members.iter().chain(&self.fallbacks);
        all.map(|member| member.upstream.back_in()).min().unwrap_or_default()
    }

    /// How long until the first of those can be asked that only rest.
    pub(super) fn rests_for(&self) -> Option<Duration> {
        let all = self.members.iter().chain(&self.fallbacks).map(|member| &member.upstream);
        let others = all.filter(|upstream| !upstream.wants_trial());
        others.filter_map(|upstream| upstream.only_rests_for()).min()
    }

    fn discovered(having: &[(&Arc<Upstream>, Listed)], meters: Arc<ModelMeters>) -> Self {
        let listed = having[0].1.clone();
        let member = |(upstream, _): &(&Arc<Upstream>, Listed)| Member {
            upstream: Arc::clone(upstream),
            weight: 1.0,
            name: Called::Same,
        };
        let members = having.iter().take(RouteConfig::MEMBERS).map(member).collect();
        Self { members, fallbacks: Vec::new(), sticky: None, hedge_after: None, meters, listed }
    }
}

impl Member {
    /// Name of a request's model at this upstream; `None` if it is the same.
    pub(super) fn name(&self, document: &Document) -> Option<Name> {
        match &self.name {
            Called::Same => None,
            Called::Other(name) => Some(name.clone()),
            Called::Pattern(from, to) => {
                let name = to.with(from.wildcard(document.model())?);
                Some(Name::new(&name))
            }
        }
    }
}

impl Called {
    fn new(model: &str, name: &str) -> Self {
        if model == name {
            return Self::Same;
        }
        match (Pattern::new(model), Pattern::new(name)) {
            (Some(from), Some(to)) => Self::Pattern(from, to),
            _ => Self::Other(Name::new(name)),
        }
    }
}
