//! The causes: what a stack shows, and what to try.
//!
//! A [`Rule`] looks at the class of the stall, the system call that it waits in, and the paths of
//! the functions on the stack. The rules are data, in `table`, the more special ones first; the last
//! of each class fits always.

mod path;
mod table;
#[cfg(all(test, sampler))]
mod tests;

use self::path::Path;
pub(super) use self::table::RULES;

/// What a stack shows, and what to try.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    pub(super) what: &'static str,
    pub(super) remedy: &'static str,
    class: Class,
    /// System calls of which one must be waited in; any where empty.
    syscalls: &'static [&'static str],
    /// Paths of functions of which one must be on the stack; any where empty.
    functions: &'static [&'static str],
    within: Within,
}

/// Where a rule is looked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Class {
    /// It waits in a system call.
    Blocked,
    /// It computes, in a stall or in a profile of CPU time.
    Cpu,
}

/// The part of a stack that a rule looks at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Within {
    /// Functions that the thread stands in at the leaf, inlined ones and those of the C library.
    Leaf,
    /// What the app's innermost own function calls; the rest of the stack where no rule knows that.
    Call,
    /// All of the stack, whatever of the app's own functions is called in between.
    Stack,
    /// No part: the rule holds if page faults take most of the time.
    PageFaults,
}

/// A stack, as far as rules look at it.
#[derive(Debug)]
pub(super) struct Stack {
    /// The leaf first.
    paths: Vec<Path>,
    /// How many functions stand at the leaf.
    leaf: usize,
    /// How many functions the app's innermost own function calls.
    called: usize,
    /// True if page faults take most of the time.
    page_faults: bool,
}

impl Stack {
    /// Of functions, the leaf first: their names, and whether they are the app's own.
    pub(super) fn new<'a>(functions: impl IntoIterator<Item = (&'a str, bool)>) -> Self {
        let (mut paths, mut called) = (Vec::new(), None);
        for (name, is_own) in functions {
            if is_own {
                called.get_or_insert(paths.len());
            }
            paths.push(Path::of(name));
        }
        let called = called.unwrap_or(paths.len());
        let leaf = paths.iter().take(called).take_while(|path| path.is_at_leaf()).count();
        Self { paths, leaf, called, page_faults: false }
    }

    /// Sets whether page faults take most of the time.
    pub(super) fn with_page_faults(self, page_faults: bool) -> Self {
        Self { page_faults, ..self }
    }
}

impl Rule {
    /// The rule for a stack.
    ///
    /// Of the rules that know what the app's innermost own function calls, the most special one: a
    /// lock that `println!` waits for is the standard output's, and the socket of a resolver is the
    /// resolver's. Where none does, a thread that waits does what the function nearest to the system
    /// call is for, and one that computes what the most special rule says: a password's hash is made
    /// of other hashes.
    pub(super) fn of(class: Option<&str>, syscall: Option<&str>, stack: &Stack) -> &'static Self {
        let class =
            if class == Some("blocked") || syscall.is_some() { Class::Blocked } else { Class::Cpu };
        let may_wait_in = |rule: &&Self| {
            rule.syscalls.is_empty()
                || syscall.is_some_and(|syscall| rule.syscalls.contains(&syscall))
        };
        let is_possible = |rule: &&Self| stack.page_faults || rule.within != Within::PageFaults;
        let rules = RULES.iter().filter(|rule| rule.class == class);
        let rules = rules.filter(may_wait_in).filter(is_possible);
        let called = || {
            let knows = |rule: &&Self| rule.knows(&stack.paths[..rule.reach(stack)]);
            rules.clone().find(|rule| rule.within == Within::PageFaults || knows(rule))
        };
        let around = || match class {
            Class::Blocked => stack.paths.iter().find_map(|path| {
                let mut rules = rules.clone().filter(|rule| rule.within == Within::Call);
                rules.find(|rule| rule.knows(std::slice::from_ref(path)))
            }),
            Class::Cpu => {
                let mut rules = rules.clone().filter(|rule| rule.within == Within::Call);
                rules.find(|rule| rule.knows(&stack.paths))
            }
        };
        // The last one of each class fits always.
        let any = || rules.clone().find(|rule| rule.functions.is_empty());
        called().or_else(around).or_else(any).unwrap_or(&RULES[RULES.len() - 1])
    }

    /// How many functions it looks at.
    fn reach(&self, stack: &Stack) -> usize {
        match self.within {
            Within::Leaf => stack.leaf,
            Within::Call => stack.called,
            Within::Stack => stack.paths.len(),
            Within::PageFaults => 0,
        }
    }

    /// Whether one of these functions is one of the rule's.
    fn knows(&self, paths: &[Path]) -> bool {
        self.functions.iter().any(|pattern| paths.iter().any(|path| path.is(pattern)))
    }
}
