//! Names that were looked up before, for profiles that are asked for again and again: to read a big
//! program's debug information takes a second.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use thermograph_profile::{Location, Mapping};

use crate::{
    modules::modules,
    names::{Names, truncated},
    stack::Stack,
};

/// Most addresses that are kept; past them all are looked up again.
const MAX_KNOWN: usize = 50_000;

/// What stands at each address of the code that is mapped.
#[derive(Debug, Default)]
struct Known {
    mappings: Vec<Arc<Mapping>>,
    locations: HashMap<u64, Arc<Location>>,
}

/// Puts names to many stacks: the places of each, the leaf first.
pub fn name_all<'a>(stacks: impl Iterator<Item = &'a Stack>) -> Vec<Vec<Arc<Location>>> {
    static KNOWN: Mutex<Option<Known>> = Mutex::new(None);
    let modules = modules();
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = known.get_or_insert_default();
    let mapped = modules.iter().map(|module| &module.mapping);
    // Code may have come to where other code was.
    if known.locations.len() > MAX_KNOWN || !mapped.clone().eq(&known.mappings) {
        *known = Known { mappings: mapped.cloned().collect(), locations: HashMap::new() };
    }
    let mut names = Names::new(&modules);
    let mut location = |address: &u64| {
        let located = known.locations.entry(*address);
        Arc::clone(located.or_insert_with(|| names.location(*address)))
    };
    let mut name = |stack: &Stack| {
        let cut = stack.truncated.then(truncated);
        stack.addresses.iter().map(&mut location).chain(cut).collect()
    };
    stacks.map(&mut name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_has_the_same_places_when_it_is_named_again() {
        let here = a_stack_has_the_same_places_when_it_is_named_again as *const () as u64;
        let stack = |truncated| Stack { addresses: [here, 1].into(), truncated };
        let name = |stack: Stack| name_all([stack].iter()).remove(0);
        let (first, again) = (name(stack(false)), name(stack(true)));
        assert!(first[0].frames[0].name.ends_with("when_it_is_named_again"), "{first:?}");
        assert!(first[1].frames.is_empty());
        assert!(Arc::ptr_eq(&first[0], &again[0]) && again.len() == 3, "{again:?}");
    }
}
