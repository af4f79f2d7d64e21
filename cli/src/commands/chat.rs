//! `chat`: the swarm of a torrent as a room; and what `--chat` beside other commands needs.

use super::transfer::{self, Party, unless_stopped};
use super::{id, source};
use crate::address::reachable;
use crate::args::chat::{ChatArguments, ChatOptionArguments, NameArguments};
use crate::args::transfer::TransferArguments;
use crate::chat::drive::{Driver, Manner, Stream};
use crate::chat::screen;
use crate::chat::work::{Fetched, Room};
use crate::exit::{Exit, Failure, OrExit};
use crate::render::bars::Screen;
use crate::render::output;
use crate::signals::{Stop, interrupted};
use crate::state;
use serde_json::json;
use std::fs::{DirBuilder, File};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use swarm_engine::{AddError, AddTorrent, ChatHandle, ChatOptions, Session, Torrent};
use swarm_proto::chat::ChatEvent;
use swarm_proto::layout::LayoutForm;
use swarm_proto::metainfo::Metainfo;

/// Chats until the user leaves, or says one thing.
pub(crate) async fn run(arguments: &ChatArguments, screen: Screen, stop: &mut Stop) -> Result<Exit, Failure> {
    transfer::telling_failures(&arguments.transfer, chat(arguments, &screen, stop)).await
}

async fn chat(arguments: &ChatArguments, screen: &Screen, stop: &mut Stop) -> Result<Exit, Failure> {
    let metainfo = unless_stopped(stop, source::load(&arguments.source)).await?;
    let session = transfer::open(&arguments.transfer, screen)?;
    let options = options(&session, arguments.nick.as_deref(), &arguments.names)?;
    let title = metainfo.name().to_owned();
    let trackers = source::trackers(&arguments.source, &arguments.transfer.trackers);
    let hint = lonely(&metainfo, &trackers, arguments, &session);
    let torrent = enter(&session, metainfo, options, (trackers, &arguments.transfer)).await?;
    let chat = torrent.chat().ok_or_else(|| Failure::new(Exit::Other, "this torrent has no room"))?;
    let ended = match &arguments.say {
        Some(text) => say(&chat, text, arguments, stop).await,
        None => {
            let downloads = arguments.output.clone();
            let room = Room {
                chat,
                torrent,
                title,
                downloads,
                content: None,
                hint,
                graphics: arguments.pictures.graphics(),
                listen_port: session.listen_address().port(),
            };
            match Driver::new(room, manner(arguments.plain, &arguments.transfer, Stream::Output)).await {
                Ok(driver) => driver.run(stop).await.map(|()| Exit::Done),
                Err(failure) => Err(failure),
            }
        }
    };
    session.shutdown().await;
    ended
}

/// Joins the swarm of a torrent for the sake of its people. Nothing is fetched.
async fn enter(
    session: &Session,
    metainfo: Metainfo,
    options: ChatOptions,
    (trackers, arguments): (Vec<String>, &TransferArguments),
) -> Result<Torrent, Failure> {
    let nothing = empty_folder(&metainfo)?;
    let torrent = AddTorrent {
        trackers,
        peers: arguments.peers.iter().map(ToString::to_string).collect(),
        chat: Some(options),
        // A seed wants nothing, whatever it lacks, and shares its folder with other processes of this user.
        ..AddTorrent::seed(metainfo, nothing)
    };
    session.add(torrent).await.map_err(|error| {
        let exit = if matches!(error, AddError::Disk(_)) { Exit::Disk } else { Exit::Other };
        Failure { exit, error: error.into() }
    })
}

/// How others come into a room in which nothing leads people to each other.
fn lonely(metainfo: &Metainfo, trackers: &[String], arguments: &ChatArguments, session: &Session) -> Option<String> {
    let peers = arguments.transfer.peers.len() + metainfo.peers().len();
    let listening = session.listen_address();
    let address = SocketAddr::new(reachable(listening.ip()).address, listening.port());
    let alone = metainfo.trackers().is_empty() && trackers.is_empty() && peers == 0;
    alone.then(|| format!("swarm chat {} --peer {address} (the room has no tracker)", arguments.source))
}

/// The folder for what a room has of files: nothing, or an empty file where the torrent is a single one.
fn empty_folder(metainfo: &Metainfo) -> Result<PathBuf, Failure> {
    let missing = || Failure::new(Exit::Disk, "there is no place for a room: set HOME or XDG_STATE_HOME");
    let folder = state::chat_folder().ok_or_else(missing)?.join("rooms").join(metainfo.info_hash().to_string());
    DirBuilder::new().recursive(true).mode(0o700).create(&folder).or_exit_while(Exit::Disk, folder.display())?;
    let layout = metainfo.layout();
    let single = layout.files().next().filter(|_| layout.form() == LayoutForm::SingleFile);
    if let Some(path) = single.and_then(|(_, file)| file.path()) {
        let path = folder.join(path);
        File::options().create(true).append(true).open(&path).or_exit_while(Exit::Disk, path.display())?;
    }
    Ok(folder)
}

/// Who we are in a room.
fn options(session: &Session, nick: Option<&str>, names: &NameArguments) -> Result<ChatOptions, Failure> {
    let user = || std::env::var("USER").ok().filter(|name| !name.trim().is_empty());
    let name = nick.map(str::to_owned).or_else(user).unwrap_or_else(|| "nameless".to_owned());
    let mut options = ChatOptions::new(id::identity()?, name);
    options.book = Some(id::book_file()?);
    options.look_up_names = names.look_up();
    options.addresses = vec![reachable(session.listen_address().ip()).address];
    Ok(options)
}

/// The whole terminal where there is one, unless the user wants something else.
fn manner(plain: bool, arguments: &TransferArguments, stream: Stream) -> Manner {
    match () {
        () if arguments.json => Manner::Json,
        () if plain || arguments.quiet || !screen::is_there() => Manner::Plain(stream),
        () => Manner::Screen,
    }
}

/// Says one thing, and waits until somebody has it.
async fn say(chat: &ChatHandle, text: &str, arguments: &ChatArguments, stop: &mut Stop) -> Result<Exit, Failure> {
    let mut events = chat.events();
    let id = chat.say(text).await.or_exit(Exit::Usage)?;
    let heard = async {
        while let Some(event) = events.next().await {
            match event {
                ChatEvent::Heard { id: heard, neighbours } if heard == id => return Some(neighbours),
                _ => {}
            }
        }
        None
    };
    let heard = tokio::select! {
        heard = tokio::time::timeout(arguments.timeout, heard) => heard,
        () = stop.requested() => return Err(interrupted()),
    };
    let neighbours = heard.map_err(|_| nobody(arguments.timeout))?.ok_or_else(|| nobody(arguments.timeout))?;
    if arguments.transfer.json {
        output::json(&json!({ "event": "chat_heard", "id": id.to_string(), "neighbours": neighbours }))?;
    }
    // Goodbye, behind the message.
    let _left = tokio::time::timeout(Duration::from_secs(1), chat.leave()).await;
    Ok(Exit::Done)
}

fn nobody(timeout: Duration) -> Failure {
    let text = format!(
        "nobody has heard it within {}: is somebody else in the room, and can this machine reach them? --peer names a machine",
        crate::render::text::duration(timeout)
    );
    Failure::new(Exit::NoPeers, text)
}

/// The chat options of a torrent beside which people talk; `None` if that was not asked for.
pub(super) fn beside(
    session: &Session,
    arguments: &ChatOptionArguments,
    torrents: usize,
) -> Result<Option<ChatOptions>, Failure> {
    match (arguments.chat, torrents) {
        (false, _) => Ok(None),
        (true, 1) => options(session, arguments.nick.as_deref(), &arguments.names).map(Some),
        (true, _) => Err(Failure::new(Exit::Usage, "--chat takes one torrent: each has a room of its own")),
    }
}

/// Runs a party, and beside it the room of its first torrent if it has one. Whoever leaves the room ends the party.
pub(super) async fn run_beside(
    party: Party,
    downloads: &Path,
    chat: &ChatOptionArguments,
    (transfer, hint): (&TransferArguments, Option<&str>),
    stop: &mut Stop,
) -> Result<Exit, Failure> {
    let first = party.first().and_then(|(torrent, name)| Some((torrent.chat()?, torrent, name)));
    let Some((chat_handle, torrent, title)) = first else { return party.run(stop).await };
    let (downloads, name) = (downloads.to_owned(), title.clone());
    let content = Some(Fetched { torrent: torrent.clone(), name, folder: downloads.clone(), told: true, offer: None });
    let room = Room {
        chat: chat_handle,
        torrent,
        title,
        downloads,
        content,
        hint: hint.map(str::to_owned),
        graphics: chat.pictures.graphics(),
        listen_port: party.listen_port(),
    };
    let driver = Driver::new(room, manner(chat.plain, transfer, Stream::Error)).await?;
    let (mut party_stop, quit) = stop.child();
    let mut room_stop = party_stop.clone();
    let chatting = async {
        let chatted = driver.run(&mut room_stop).await;
        quit.quit();
        chatted
    };
    let (chatted, ended) = tokio::join!(chatting, party.run(&mut party_stop));
    chatted?;
    ended
}
