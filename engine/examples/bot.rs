//! Somebody who is always in a room: answers `ping`, takes calls, and takes files from people whom its user trusts.
//!
//! `bot META STATE FOLDER [HOST:PORT...]` goes into the room META. Its key and those whom it knows are kept in STATE, which may
//! be that of the command line (`~/.local/state/swarm/chat`), so that `swarm id trust` says whom to trust. Files go into FOLDER.

use std::error::Error;
use std::path::{Path, PathBuf};
use swarm_engine::chat::load_or_make_identity;
use swarm_engine::{AddTorrent, ChatFailure, ChatHandle, ChatOptions, Session, SessionConfig};
use swarm_proto::chat::{ChatEvent, Trust};
use swarm_proto::metainfo::Metainfo;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [meta, state, folder, peers @ ..] = arguments.as_slice() else {
        return Err("usage: bot META STATE FOLDER [HOST:PORT...]".into());
    };
    let (state, folder) = (Path::new(state), PathBuf::from(folder));
    let mut who = ChatOptions::new(load_or_make_identity(&state.join("identity"))?, "bot");
    who.book = Some(state.join("people"));
    let metainfo = Metainfo::parse(std::fs::read(meta)?)?;
    let room = AddTorrent { peers: peers.to_vec(), ..AddTorrent::room(metainfo, state.join("room"), who) };

    let session = Session::new(SessionConfig::default())?;
    let chat = session.add(room).await?.chat().ok_or("a room has a chat")?;
    println!("{} listens on {}", chat.key().fingerprint(), session.listen_address());
    let mut events = chat.events();
    while let Some(event) = events.next().await {
        // Whom we answer may have hung up meanwhile, or somebody may ask too much at once: that ends no bot.
        if let Err(error) = answer(&chat, &folder, event).await {
            println!("not answered: {error}");
        }
    }
    session.shutdown().await;
    Ok(())
}

async fn answer(chat: &ChatHandle, folder: &Path, event: ChatEvent) -> Result<(), ChatFailure> {
    match event {
        ChatEvent::Message(message) if message.text == "ping" && !message.own && !message.past => {
            chat.say(format!("{}: pong", message.name)).await?;
        }
        ChatEvent::CallRequested { id, .. } => chat.accept(id).await?,
        ChatEvent::DirectMessage { id, text, .. } => drop(chat.tell(id, format!("you have said {text:?}")).await?),
        ChatEvent::OfferReceived { id, from, offer } if from.trust == Trust::Trusted => {
            println!("{} hands over {}, {} bytes", from.name, offer.name, offer.total_length);
            // Returns when the metainfo is here; the files follow, as of any torrent.
            chat.accept_offer(id, folder).await?;
        }
        ChatEvent::OfferReceived { id, .. } => chat.decline(id).await?,
        _ => {}
    }
    Ok(())
}
