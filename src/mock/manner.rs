//! The behaviour in effect, with what is made of it once and not for each request.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{behaviour::Behaviour, content::Fault, output::Output, refusal::Refusal};

/// The behaviour in effect.
#[derive(Debug)]
pub(super) struct Manner {
    pub(super) behaviour: Behaviour,
    /// Text of the answers that have no other.
    pub(super) output: Output,
    /// Places for requests that are worked on; none where all are.
    places: Option<Arc<Semaphore>>,
}

/// How it goes with one request, thrown beforehand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Lot {
    Hang,
    Refuse,
    Answer(Option<Fault>),
}

impl Manner {
    /// Makes a behaviour the one in effect; places are kept from `old` if there are as many.
    pub(super) fn new(behaviour: Behaviour, old: Option<&Self>) -> Self {
        let most = behaviour.max_in_flight;
        let kept = old.filter(|old| old.behaviour.max_in_flight == most);
        let places = match kept {
            Some(old) => old.places.clone(),
            None => most.map(|most| Arc::new(Semaphore::new(most.count()))),
        };
        let output = Output::words(behaviour.tokens.count());
        Self { behaviour, output, places }
    }

    /// Waits for a place among the requests that are worked on.
    pub(super) async fn place(&self) -> Option<OwnedSemaphorePermit> {
        // It is never closed.
        Arc::clone(self.places.as_ref()?).acquire_owned().await.ok()
    }

    /// Throws the dice for a request.
    pub(super) fn lot(&self) -> Lot {
        let Behaviour { hang_rate, error_rate, cut_rate, stall_rate, .. } = &self.behaviour;
        if hang_rate.hits() {
            Lot::Hang
        } else if error_rate.hits() {
            Lot::Refuse
        } else if cut_rate.hits() {
            Lot::Answer(Some(Fault::Cut))
        } else if stall_rate.hits() {
            Lot::Answer(Some(Fault::Stall))
        } else {
            Lot::Answer(None)
        }
    }

    /// Refuses a model that there is not.
    pub(super) fn check_model(&self, name: &str) -> Result<(), Refusal> {
        let known = self.behaviour.models.contains(name);
        known.then_some(()).ok_or_else(|| Refusal::unknown_model(name))
    }

    /// Tokens of a stream that come before its fault.
    pub(super) fn tokens_before(&self, fault: Fault) -> usize {
        match fault {
            Fault::Cut => self.behaviour.cut_after.count(),
            Fault::Stall => self.behaviour.stall_after.count(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::behaviour::tests::behaviour, *};

    #[test]
    fn a_request_fails_in_one_way_by_the_order() {
        for (flags, lot) in [
            (&["--hang-rate=1", "--error-rate=1", "--cut-rate=1", "--stall-rate=1"][..], Lot::Hang),
            (&["--error-rate=1", "--cut-rate=1", "--stall-rate=1"], Lot::Refuse),
            (&["--cut-rate=1", "--stall-rate=1"], Lot::Answer(Some(Fault::Cut))),
            (&["--stall-rate=1"], Lot::Answer(Some(Fault::Stall))),
            (&[], Lot::Answer(None)),
        ] {
            assert_eq!(Manner::new(behaviour(flags), None).lot(), lot);
        }
    }

    #[tokio::test]
    async fn places_outlive_a_change_of_something_else() {
        let old = Manner::new(behaviour(&["--max-in-flight=1"]), None);
        let taken = old.place().await.expect("a place");
        let new = Manner::new(behaviour(&["--max-in-flight=1", "--tokens=2"]), Some(&old));
        assert_eq!(new.places.as_ref().map(|places| places.available_permits()), Some(0));
        drop(taken);
        assert!(new.place().await.is_some());
        assert!(Manner::new(behaviour(&[]), Some(&new)).place().await.is_none());
    }
}
