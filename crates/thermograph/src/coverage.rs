//! The work outside of instrumented polls in which a block is found, and the rest.

/// The extent to which blocks outside of instrumented polls are found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Coverage {
    /// The hooks report every task.
    Tasks,
    /// No runtime is known.
    Nothing,
    /// Only some of the workers are watched.
    Some { watched: u64, all: u64 },
    /// All workers are watched, but the task that a worker polls is not known.
    Waits { all: u64 },
    /// All workers are watched.
    Workers { all: u64 },
}

impl Coverage {
    /// The coverage with so many watched workers, known workers, and 1 if the tasks that they poll are
    /// known.
    pub(crate) fn new([watched, all, knows_tasks]: [u64; 3], is_hooked: bool) -> Self {
        match (watched, all) {
            _ if is_hooked => Self::Tasks,
            (0, 0) => Self::Nothing,
            (watched, all) if watched < all => Self::Some { watched, all },
            (_, all) if knows_tasks == 0 => Self::Waits { all },
            (_, all) => Self::Workers { all },
        }
    }

    /// The blocks that go unseen; `None` if all are seen.
    pub(crate) fn gap(self) -> Option<String> {
        Some(match self {
            Self::Tasks => return None,
            Self::Nothing => {
                "no runtime is known: a task that blocks outside of handlers is not seen".to_owned()
            }
            Self::Some { watched, all } => format!(
                "{watched} of {all} workers are watched outside of handlers: a task that blocks one of \
                 the others is not seen"
            ),
            Self::Waits { all } => format!(
                "{all} workers are watched outside of handlers: tasks that wait are found, and not \
                 those that compute"
            ),
            Self::Workers { .. } => {
                "without hooks, a task that blocks outside of handlers is found if \
                                     it blocks for twice the threshold, and the future of \
                                     Runtime::block_on is not seen"
                    .to_owned()
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coverage_without_hooks_names_the_blocks_that_go_unseen() {
        for (workers, is_hooked, expected) in [
            ([0, 0, 0], true, None),
            ([0, 0, 0], false, Some("no runtime is known")),
            ([1, 2, 1], false, Some("1 of 2 workers")),
            ([2, 2, 0], false, Some("not those that compute")),
            ([2, 2, 1], false, Some("twice the threshold")),
        ] {
            let gap = Coverage::new(workers, is_hooked).gap();
            assert_eq!(gap.is_some(), expected.is_some(), "{workers:?}: {gap:?}");
            assert!(gap.unwrap_or_default().contains(expected.unwrap_or_default()), "{workers:?}");
        }
    }
}
