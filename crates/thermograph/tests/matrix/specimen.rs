//! What a specimen is, and what its stalls must look like.

use std::{any::type_name, sync::Arc};

use thermograph::Class;

/// A handler that is ill in a known way.
#[derive(Clone)]
pub(crate) struct Specimen {
    /// Its family: the module that it is in, or the place that it runs in.
    pub(crate) family: &'static str,
    /// Its matched path.
    pub(crate) route: String,
    /// The function of its own that must be in the stack.
    pub(crate) function: &'static str,
    pub(crate) run: Work,
    pub(crate) class: Class,
    /// System calls of which one must be seen; for one that computes, those that may be seen.
    pub(crate) calls: &'static [&'static str],
    pub(crate) place: Place,
}

/// Keeps a worker.
pub(crate) type Work = Arc<dyn Fn() + Send + Sync>;

/// Where in an app a specimen runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Place {
    /// In the first poll of a handler.
    Handler,
    /// In a later poll of a handler.
    AfterAwait,
    /// In a handler whose path has a parameter, in a nested router.
    Parameter,
    /// In a handler that reads a body.
    Post,
    /// In a handler for any method and any path below its own.
    Any,
    /// In a handler behind a trait object.
    TraitObject,
    /// In one of several futures of a handler that are polled together.
    Select,
    /// In a future with a time-out.
    Timeout,
    /// In 25 futures of one poll, each a part of it.
    Unordered,
    /// In the drop of a guard, at the end of a handler.
    Drop,
    /// In an extractor.
    Extractor,
    /// In a middleware inside of the layer.
    Middleware,
    /// In a stream that is the response's body.
    Body,
    /// In a task that the handler awaits.
    Task,
    /// In a task of a task that the handler awaits.
    TaskOfTask,
    /// In a task of a set that the handler awaits.
    JoinSet,
    /// In a task that goes on after the handler.
    Detached,
    /// In a task with a connection that the handler has upgraded.
    Upgraded,
}

impl Place {
    /// Returns whether it runs in a task of its own.
    pub(crate) fn is_task(self) -> bool {
        use Place::{Detached, JoinSet, Task, TaskOfTask, Upgraded};
        matches!(self, Task | TaskOfTask | JoinSet | Detached | Upgraded)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Handler => "handler",
            Self::AfterAwait => "after-await",
            Self::Parameter => "parameter",
            Self::Post => "post",
            Self::Any => "any",
            Self::TraitObject => "trait-object",
            Self::Select => "select",
            Self::Timeout => "timeout",
            Self::Unordered => "unordered",
            Self::Drop => "drop",
            Self::Extractor => "extractor",
            Self::Middleware => "middleware",
            Self::Body => "body",
            Self::Task => "task",
            Self::TaskOfTask => "task-of-task",
            Self::JoinSet => "join-set",
            Self::Detached => "detached",
            Self::Upgraded => "upgraded",
        }
    }
}

/// One that waits, in one of these system calls.
pub(crate) fn blocked<F: Fn() + Send + Sync + 'static>(
    run: F,
    calls: &'static [&'static str],
) -> Specimen {
    specimen(run, Class::Blocked, calls)
}

/// One that computes.
pub(crate) fn computes<F: Fn() + Send + Sync + 'static>(run: F) -> Specimen {
    specimen(run, Class::Cpu, &[])
}

/// One that computes in the kernel, in one of these system calls if any is seen.
pub(crate) fn computes_in<F: Fn() + Send + Sync + 'static>(
    run: F,
    calls: &'static [&'static str],
) -> Specimen {
    specimen(run, Class::Cpu, calls)
}

fn specimen<F: Fn() + Send + Sync + 'static>(
    run: F,
    class: Class,
    calls: &'static [&'static str],
) -> Specimen {
    let function = type_name::<F>();
    let mut parts = function.rsplit("::");
    let (name, family) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let route = format!("/{family}/{}", name.replace('_', "-"));
    Specimen { family, route, function, run: Arc::new(run), class, calls, place: Place::Handler }
}

impl Specimen {
    /// The same, elsewhere in the app.
    pub(crate) fn at(mut self, place: Place) -> Self {
        let (_, name) = self.route.rsplit_once('/').expect("a path");
        let tail = match place {
            Place::Parameter => "/{id}",
            Place::Any => "/{*rest}",
            _ => "",
        };
        self.route = format!("/{}/{name}{tail}", place.name());
        self.family = if place.is_task() { "tasks" } else { "places" };
        self.place = place;
        self
    }

    /// Its route without what must be escaped in a shell.
    pub(crate) fn name(&self) -> &str {
        self.route.trim_matches('/').split("/{").next().unwrap_or_default()
    }

    /// The path that it is called by.
    pub(crate) fn path(&self) -> String {
        self.route.replace("{id}", "17").replace("{*rest}", "one/two")
    }

    pub(crate) fn method(&self) -> &'static str {
        if self.place == Place::Post { "POST" } else { "GET" }
    }
}
