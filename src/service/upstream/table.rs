//! Which model is where: read by every request, replaced whole when something changes.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;

use super::{
    MemberConfig, RouteConfig, StickyConfig, Upstream, balance::Asked, health::Listed,
    meters::ModelMeters,
};

/// The upstreams, and the models that they have.
#[derive(Default)]
pub(super) struct Table {
    pub(super) upstreams: BTreeMap<String, Arc<Upstream>>,
    pub(super) routes: HashMap<String, Arc<Route>>,
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
    /// What the model is called there, as JSON; none where it is called the same.
    pub(super) name: Option<Bytes>,
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
        let mut routes: HashMap<_, _> = configured.collect();
        let mut found: BTreeMap<String, Vec<(&Arc<Upstream>, Listed)>> = BTreeMap::new();
        for upstream in upstreams.values().filter(|upstream| upstream.config.discover) {
            for listed in upstream.listed.load().iter() {
                found.entry(listed.id.clone()).or_default().push((upstream, listed.clone()));
            }
        }
        for (model, having) in found {
            routes.entry(model).or_insert_with_key(|model| {
                Arc::new(Route::discovered(&having, before.meters(model)))
            });
        }
        Self { upstreams, routes }
    }

    /// The metrics of a model, which outlive the table.
    fn meters(&self, model: &str) -> Arc<ModelMeters> {
        let known = self.routes.get(model).map(|route| Arc::clone(&route.meters));
        known.unwrap_or_else(|| Arc::new(ModelMeters::new(model)))
    }
}

impl Route {
    /// The model as it is listed.
    pub(crate) fn listed(&self) -> &Listed {
        &self.listed
    }

    /// Whether an upstream is told the client's own key: what it answers is that client's.
    pub(crate) fn is_personal(&self) -> bool {
        let mut all = self.members.iter().chain(&self.fallbacks);
        all.any(|member| member.upstream.config.forward_authorization)
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
                    name: name.filter(|name| *name != model).map(|name| as_json(name)),
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
            name: None,
        };
        let members = having.iter().take(RouteConfig::MEMBERS).map(member).collect();
        Self { members, fallbacks: Vec::new(), sticky: None, hedge_after: None, meters, listed }
    }
}

fn as_json(name: &str) -> Bytes {
    serde_json::Value::from(name).to_string().into()
}
