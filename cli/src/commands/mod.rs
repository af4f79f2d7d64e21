//! What each subcommand means: calls into the libraries, and results to [`crate::render`].

mod catalogue;
mod chat;
mod content;
mod documentation;
mod fetch;
mod id;
mod id_names;
mod make_meta;
mod room;
mod scrape;
mod seed;
mod share;
mod shell;
mod show;
mod source;
pub(crate) mod tracker;
mod transfer;
mod verify;

use crate::args::chat::ChatOptionArguments;
use crate::args::transfer::TransferArguments;
use crate::args::{Arguments, Command};
use crate::exit::{Exit, Failure};
use crate::log::{self, Form, Usual};
use crate::render::bars::Screen;
use crate::signals::Stop;
use transfer::unless_stopped;

/// Runs what was typed.
pub(crate) async fn run(arguments: Arguments, stop: &mut Stop) -> Result<Exit, Failure> {
    let verbose = arguments.verbose;
    let screen = screen(&arguments.command);
    // A tracker's log is of another kind.
    if !matches!(arguments.command, Command::Tracker(_)) {
        log::start(Usual::Errors, verbose, Form::Text, Some(&screen));
    }
    match &arguments.command {
        Command::Share(arguments) => share::run(arguments, screen, stop).await,
        Command::Fetch(arguments) => fetch::run(arguments, screen, stop).await,
        Command::Seed(arguments) => seed::run(arguments, screen, stop).await,
        Command::MakeMeta(arguments) => make_meta::run(arguments, &screen, stop).await,
        Command::Show(arguments) => unless_stopped(stop, show::run(arguments)).await,
        Command::Verify(arguments) => verify::run(arguments, &screen, stop).await,
        Command::Tracker(arguments) => tracker::run(arguments, verbose, stop).await,
        Command::Ls(arguments) => unless_stopped(stop, catalogue::list(arguments)).await,
        Command::Publish(arguments) => unless_stopped(stop, catalogue::publish(arguments)).await,
        Command::Unpublish(arguments) => unless_stopped(stop, catalogue::unpublish(arguments)).await,
        Command::Peers(arguments) => unless_stopped(stop, catalogue::peers(arguments)).await,
        Command::Scrape(arguments) => unless_stopped(stop, scrape::run(arguments)).await,
        Command::Shell(arguments) => shell::run(arguments, stop).await,
        Command::Chat(arguments) => chat::run(arguments, screen, stop).await,
        Command::Room(arguments) => room::run(arguments),
        Command::Id(arguments) => unless_stopped(stop, id::run(arguments)).await,
        Command::Completions(arguments) => documentation::completions(arguments),
        Command::Man(arguments) => documentation::man(arguments),
    }
}

/// Where the command shows its progress: nowhere if the user wants quiet, or lines of JSON instead.
fn screen(command: &Command) -> Screen {
    // A chat shows transfers in its own way, and lines that come in between would tear the bars.
    let of_transfer = |arguments: &TransferArguments, chat: &ChatOptionArguments| {
        Screen::new(!arguments.quiet && !arguments.json && !chat.chat)
    };
    match command {
        Command::Share(arguments) => of_transfer(&arguments.transfer, &arguments.chat),
        Command::Fetch(arguments) => of_transfer(&arguments.transfer, &arguments.chat),
        Command::Seed(arguments) => of_transfer(&arguments.transfer, &arguments.chat),
        Command::MakeMeta(arguments) => Screen::new(!arguments.quiet),
        Command::Verify(arguments) => Screen::new(!arguments.quiet && !arguments.json),
        _ => Screen::silent(),
    }
}
