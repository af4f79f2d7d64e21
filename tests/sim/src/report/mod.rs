//! One page about one run, for someone who asks why it was slow.
//!
//! A single HTML file: inline SVG and CSS, no script, nothing from elsewhere, light and dark. The same trace gives the
//! same page to the byte. All text from outside goes through `text::escape`.

mod chart;
mod charts;
mod findings;
mod heat;
mod tables;
mod text;

use crate::trace::Trace;
use findings::Figures;
use std::fmt::Write;
use text::escape;

const STYLE: &str = include_str!("style.css");

/// The page.
pub fn page(trace: &Trace) -> String {
    let about = &trace.about;
    let figures = Figures::of(trace);
    let title = escape(&about.title);
    let mut out = format!(
        "<!doctype html><html lang=en><head><meta charset=utf-8><title>{title}, seed {}</title>\
         <meta name=viewport content=\"width=device-width, initial-scale=1\"><style>{STYLE}</style></head><body><main>",
        about.seed
    );
    _ = write!(out, "<h1>{title}</h1><p class=soft>{}</p>", escape(&about.summary));
    out.push_str(&tiles(trace, &figures));
    out.push_str(&section("What stands out", &list(&findings::sentences(trace, &figures))));
    out.push_str(&charts::completion(trace));
    out.push_str(&charts::availability(trace));
    out.push_str(&charts::rates(trace));
    _ = write!(out, "<div class=pair>{}{}</div>", charts::uplinks(trace), charts::presence(trace));
    _ = write!(out, "<div class=pair>{}{}</div>", charts::copies(trace), charts::waste(trace));
    out.push_str(&tables::totals(trace, &figures));
    out.push_str(&tables::classes(trace));
    out.push_str(&tables::last_to_finish(trace));
    out.push_str(&section("The same run again", &format!("<pre>{}</pre>", escape(&about.command))));
    out + "</main></body></html>\n"
}

fn section(title: &str, body: &str) -> String {
    format!("<section><h2>{}</h2>{body}</section>", escape(title))
}

fn list(sentences: &[String]) -> String {
    let items: String = sentences.iter().map(|sentence| format!("<li>{}</li>", escape(sentence))).collect();
    format!("<ul>{items}</ul>")
}

fn tiles(trace: &Trace, figures: &Figures) -> String {
    let tile = |bad: bool, value: String, name: &str| {
        let class = if bad { "tile bad" } else { "tile" };
        format!("<div class=\"{class}\"><b>{}</b><span>{}</span></div>", escape(&value), escape(name))
    };
    let time = |time: Option<f64>| time.map_or_else(|| "never".to_owned(), text::time);
    let ratio = |time: Option<f64>| match (time, trace.about.limit) {
        (Some(time), Some(limit)) => format!(", {:.2} × the limit", time / limit.as_secs_f64().max(1e-9)),
        _ => String::new(),
    };
    let missing = figures.complete < figures.leechers;
    let complete = format!("{} / {}", text::count(figures.complete), text::count(figures.leechers));
    [
        "<div class=tiles>".to_owned(),
        tile(missing, complete, "leechers complete"),
        tile(false, time(figures.median), &format!("median completion{}", ratio(figures.median))),
        tile(false, time(figures.last), &format!("last completion{}", ratio(figures.last))),
        tile(false, time(figures.first_copy), "until one full copy is out"),
        tile(figures.waste > 0.01, text::percent(figures.waste), "of the payload wasted"),
        tile(false, figures.use_of_uplinks.map_or("-".to_owned(), text::percent), "of all uplinks used"),
        "</div>".to_owned(),
    ]
    .concat()
}
