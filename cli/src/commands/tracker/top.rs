//! `tracker top`: the numbers of a running tracker, live in the terminal.

use crate::args::tracker::TopArguments;
use crate::exit::{Exit, Failure, OrExit};
use crate::render::{output, text};
use crate::signals::Stop;
use std::collections::BTreeMap;
use std::io::{IsTerminal, stdout};
use std::time::{Duration, Instant};
use swarm_engine::tracker::http::HttpTracker;
use tokio::time::{MissedTickBehavior, interval};

/// For the tracker to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Moves the cursor to the top and clears what is below.
const CLEAR: &str = "\x1b[H\x1b[J";
/// Numbers that are shown at most; a tracker has some fifty.
const ROWS: usize = 200;

/// What a tracker counts, by name.
type Numbers = BTreeMap<String, u64>;

/// Shows the numbers again and again, or once. Without a terminal each look is a block of lines.
pub(super) async fn run(arguments: &TopArguments, stop: &mut Stop) -> Result<Exit, Failure> {
    let client = HttpTracker::new();
    let live = stdout().is_terminal() && !arguments.once && !arguments.json;
    let mut tick = interval(arguments.every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before: Option<(Instant, Numbers)> = None;
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = stop.requested() => return Ok(Exit::Done),
        }
        let now = Instant::now();
        let page = match look(&client, &arguments.tracker).await {
            Ok(numbers) => {
                let since = before.as_ref().map(|(then, old)| (now.duration_since(*then), old));
                let page = if arguments.json { json(&numbers)? } else { table(&arguments.tracker, &numbers, since) };
                before = Some((now, numbers));
                page
            }
            // A tracker that answered once may come back.
            Err(failure) if before.is_some() && !arguments.once => {
                let why = text::printable_lines(&output::causes(&failure.error));
                if live { why } else { return Err(failure) }
            }
            Err(failure) => return Err(failure),
        };
        output::result(&if live { format!("{CLEAR}{page}") } else { page })?;
        if arguments.once {
            return Ok(Exit::Done);
        }
    }
}

async fn look(client: &HttpTracker, tracker: &str) -> Result<Numbers, Failure> {
    let body = client.page(tracker, "/stats", PATIENCE).await;
    let body = body.or_exit_while(Exit::Network, text::printable(tracker))?;
    let numbers: Numbers = serde_json::from_slice(&body)
        .or_exit_while(Exit::Network, format!("{}: no numbers of a swarm tracker", text::printable(tracker)))?;
    Ok(numbers.into_iter().take(ROWS).collect())
}

fn json(numbers: &Numbers) -> Result<String, Failure> {
    serde_json::to_string(numbers).or_exit(Exit::Other)
}

/// A row for each number: what it is, and by how much it grew a second since the look before.
fn table(tracker: &str, numbers: &Numbers, before: Option<(Duration, &Numbers)>) -> String {
    let width = numbers.keys().map(|name| name.chars().count()).max().unwrap_or(0).min(60);
    let mut page = text::printable(tracker);
    for (name, &value) in numbers {
        page.push_str(&format!("\n{:<width$} {value:>16}", text::printable(name)));
        let old = before.and_then(|(since, old)| Some((since, *old.get(name)?)));
        if let Some((since, old)) = old.filter(|(_, old)| *old != value) {
            let each = (value as f64 - old as f64) / since.as_secs_f64().max(0.001);
            page.push_str(&format!(" {each:>+12.1}/s"));
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_is_told_by_the_second_and_nothing_reaches_the_terminal() {
        let numbers = |peers: u64| Numbers::from([("peers".to_owned(), peers), ("\x1b[2Jx".to_owned(), 1)]);
        let (old, new) = (numbers(10), numbers(4));
        assert!(!table("t", &new, None).contains("/s"));
        let page = table("http://t\x1b", &new, Some((Duration::from_secs(2), &old)));
        assert!(page.contains("peers") && page.contains("-3.0/s"), "{page}");
        assert_eq!(page.matches("/s").count(), 1, "{page}");
        assert!(!page.contains('\x1b'), "{page}");
    }
}
