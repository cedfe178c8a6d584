//! A diagnosis as a page that needs nothing else.

use super::{Cause, Diagnosis, Verdict, pool, victims};
use crate::html_escape::escape;

const HEAD: &str = "<!doctype html><html lang=en><meta charset=utf-8>\
<meta name=viewport content='width=device-width'><title>thermograph: diagnosis</title><style>\
:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;\
max-width:60rem;padding:0 1rem}article{border-left:6px solid #5a5;padding:.1rem 1rem;margin:1rem 0}\
.blocking{border-color:#d33}.hot{border-color:#e90}code,pre{font-size:13px}pre{overflow-x:auto}\
</style><h1>Diagnosis</h1>";

/// The whole page.
pub(super) fn write(diagnosis: &Diagnosis) -> String {
    let Diagnosis { seconds, verdicts, notes, .. } = diagnosis;
    let verdicts: String = verdicts.iter().map(of_verdict).collect();
    let notes: Vec<_> = notes.iter().map(|note| format!("<p>{}</p>", escape(note))).collect();
    let victims = victims::html(&diagnosis.victims);
    let pools = pool::html(&diagnosis.pools);
    format!("{HEAD}<p>over {seconds:.0} s</p>{pools}{verdicts}{victims}{}", notes.concat())
}

fn of_verdict(verdict: &Verdict) -> String {
    let Verdict { verdict: finding, method, route, summary, causes, .. } = verdict;
    let (method, route, summary) = (escape(method), escape(route), escape(summary));
    let causes: String = causes.iter().map(of_cause).collect();
    format!(
        "<article class={finding}><h2>{method} {route} is {finding}</h2><p>{summary}</p>{causes}\
         </article>"
    )
}

fn of_cause(cause: &Cause) -> String {
    let Cause { what, share, at, r#try, stack, no_stack, held_by, .. } = cause;
    let held_by = held_by.iter().map(|held_by| format!("<p>It {}</p>", escape(&held_by.told())));
    let held_by: Vec<_> = held_by.collect();
    let held_by = held_by.concat();
    let missing = no_stack.as_ref().map_or_else(String::new, |why| format!(" ({})", escape(why)));
    let at = at.as_ref().map_or_else(String::new, |at| {
        format!(" at <code>{} ({}:{})</code>", escape(&at.function), escape(&at.file), at.line)
    });
    let frames =
        stack.iter().map(|frame| format!("{} ({}:{})", frame.function, frame.file, frame.line));
    let frames: Vec<_> = frames.collect();
    format!(
        "<p>{:.0} %: {}{at}{missing}</p>{held_by}<p>Try {}</p><details><summary>stack</summary><pre>{}</pre></details>",
        share * 100.0,
        escape(what),
        escape(r#try),
        escape(&frames.join("\n"))
    )
}
