//! What is promised of the gateway, out of what was measured.

use anyhow::Context as _;

use super::{
    Measured,
    contender::{Absent, Contender, Kind},
    phase::Turn,
};
use crate::figure::{Bound, Figure};

const NAME: &str = "gateway";

pub(crate) fn figures(
    contenders: &[Contender],
    absent: &[Absent],
    measured: &Measured,
) -> anyhow::Result<Vec<Figure>> {
    let all = All { contenders, absent, measured };
    let ours = all.cheapest(Kind::Ours).context("ours was not measured")?;
    Ok(vec![
        all.cpu(ours),
        all.cpu_over(ours, Kind::Gateway, Bound::Below(1.0), "the cheapest other gateway"),
        all.cpu_over(ours, Kind::Proxy, Bound::None, "a proxy that looks into nothing"),
        all.added(ours),
    ])
}

#[derive(Clone, Copy)]
struct All<'a> {
    contenders: &'a [Contender],
    absent: &'a [Absent],
    measured: &'a Measured,
}

impl All<'_> {
    /// Number of the one of a kind that takes the least processor time.
    fn cheapest(self, kind: Kind) -> Option<usize> {
        let of_kind = (0..self.contenders.len()).filter(|one| self.contenders[*one].kind == kind);
        of_kind.min_by(|a, b| self.micros(*a).total_cmp(&self.micros(*b)))
    }

    fn micros(self, number: usize) -> f64 {
        self.measured.eight.median(number, Turn::cpu_per_request)
    }

    fn cpu(self, ours: usize) -> Figure {
        let micros = self.measured.eight.spread(|round| round[ours].cpu_per_request());
        Figure {
            name: NAME,
            what: "µs: processor time of thermograph for a request, 8 connections".to_owned(),
            value: micros.median(),
            bound: Bound::AtMost(80.0),
            conditions: format!("{} rounds: {micros:.1}", micros.count()),
        }
    }

    fn cpu_over(self, ours: usize, kind: Kind, bound: Bound, what: &str) -> Figure {
        let what = format!("processor time of thermograph for a request : {what}");
        let missing = self.absent.iter().fold(String::new(), |text, Absent { name, .. }| {
            text + "; " + name + " could not be measured"
        });
        let Some(other) = self.cheapest(kind) else {
            let conditions = format!("there is none{missing}");
            return Figure { name: NAME, what, value: f64::NAN, bound, conditions };
        };
        let ratio = |round: &[Turn]| round[ours].cpu_per_request() / round[other].cpu_per_request();
        let ratio = self.measured.eight.spread(ratio);
        let (name, [theirs, own]) =
            (&self.contenders[other].name, [other, ours].map(|one| self.micros(one)));
        let conditions = format!("{name}; {theirs:.1} → {own:.1} µs; {ratio:.3}{missing}");
        Figure { name: NAME, what, value: ratio.median(), bound, conditions }
    }

    fn added(self, ours: usize) -> Figure {
        let wait = |turn: &Turn| turn.seen.wait(0.5);
        let added = self.measured.single.added(ours, wait);
        let direct = self.measured.single.median(0, wait);
        Figure {
            name: NAME,
            what: "µs: what thermograph adds to a chat completion, 1 connection, median".to_owned(),
            value: added.median(),
            bound: Bound::AtMost(100.0),
            conditions: format!("{} rounds: {added:.1}; direct {direct:.0} µs", added.count()),
        }
    }
}
