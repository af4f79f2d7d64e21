//! Reads and paints pictures, one after the other, on a thread that may take long and may panic: neither holds up the
//! room, and nobody waits for it at the end of the program.
//!
//! Kept in memory are the list of what is to be looked at, one picture made small, and what was painted of it.

use super::terminal::{Cell, Graphics};
use super::{Album, Art, Found, Job, Thumbnail, Wrong, facts, is_called_so, paint, thumbnail};
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use swarm_proto::id::InfoHash;
use swarm_proto::metainfo::Metainfo;
use tokio::sync::mpsc;

/// How long the user waits for a picture. 40 million pixels take a second or two.
const PATIENCE: Duration = Duration::from_secs(15);

/// Pictures of one offer that are looked at: more than a list of messages should be filled with.
const OF_ONE_OFFER: usize = 16;

/// Offers that are under way, of which the files are known.
const OFFERS: usize = 64;

/// Files that wait to be looked at.
const WAITING: usize = 256;

/// What has come of reading.
#[derive(Debug)]
pub(crate) enum Report {
    /// A file that is called like a picture was looked at.
    Found(Found),
    /// A picture was painted, or will never be.
    Painted { number: u32, art: Result<Arc<Art>, Wrong> },
}

/// What the thread hands back.
enum Done {
    Found(Found),
    Painted { number: u32, result: Result<(Arc<Thumbnail>, Art), Wrong> },
}

/// Something to be read.
enum Task {
    Look { name: String, path: PathBuf },
    Paint { job: Job, known: Option<Arc<Thumbnail>> },
}

/// Where pictures are read.
#[derive(Debug)]
pub(crate) struct Viewer {
    /// Nothing is ever read otherwise.
    enabled: bool,
    /// Files of offers that were accepted.
    accepted: HashMap<InfoHash, Vec<String>>,
    to_look_at: VecDeque<(String, PathBuf)>,
    /// The picture that is being looked at, made small.
    small: Option<(u32, Arc<Thumbnail>)>,
    /// When the thread began with what it does now.
    busy: Option<Instant>,
    sender: mpsc::UnboundedSender<Done>,
    done: mpsc::UnboundedReceiver<Done>,
}

impl Viewer {
    /// A viewer; one that is not enabled reads nothing.
    pub(crate) fn new(enabled: bool) -> Self {
        let (sender, done) = mpsc::unbounded_channel();
        Self { enabled, accepted: HashMap::new(), to_look_at: VecDeque::new(), small: None, busy: None, sender, done }
    }

    /// An offer was accepted, and this is its metainfo.
    pub(crate) fn accepted(&mut self, metainfo: &Bytes) {
        let Some(metainfo) = Metainfo::parse(metainfo.clone()).ok().filter(|_| self.enabled) else { return };
        let layout = metainfo.layout();
        let paths = layout.files().filter_map(|(_, file)| file.path()).filter(|path| is_called_so(Path::new(path)));
        let pictures: Vec<String> = paths.take(OF_ONE_OFFER).map(str::to_owned).collect();
        if !pictures.is_empty() && self.accepted.len() < OFFERS {
            self.accepted.insert(metainfo.info_hash(), pictures);
        }
    }

    /// All files of an offer are below this folder, and right.
    pub(crate) fn complete(&mut self, offer: InfoHash, folder: &Path) {
        for name in self.accepted.remove(&offer).unwrap_or_default() {
            let path = folder.join(&name);
            self.look_at(name, path);
        }
    }

    /// A file of our own was offered.
    pub(crate) fn offered(&mut self, name: &str, path: PathBuf) {
        if self.enabled && is_called_so(&path) {
            self.look_at(name.to_owned(), path);
        }
    }

    fn look_at(&mut self, name: String, path: PathBuf) {
        if self.to_look_at.len() < WAITING {
            self.to_look_at.push_back((name, path));
            self.go_on();
        }
    }

    /// What is open shall be painted, once there is nothing else under way.
    pub(crate) fn follow(&mut self, album: &Album, cell: impl Fn(Graphics) -> Cell) {
        if !album.is_open() {
            self.small = None;
        }
        if let (None, Some(graphics)) = (self.busy, album.graphics)
            && let Some(job) = album.wanted(cell(graphics))
        {
            self.paint(job);
        }
    }

    fn paint(&mut self, job: Job) {
        let known = self.small.as_ref().filter(|(number, _)| *number == job.number);
        let known = known.map(|(_, small)| Arc::clone(small));
        self.start(Task::Paint { job, known });
    }

    /// Whether the user has waited long enough.
    pub(crate) fn is_stuck(&self) -> bool {
        self.busy.is_some_and(|since| since.elapsed() > PATIENCE)
    }

    /// What comes next of all that was asked for; waits for ever if that is nothing. May be dropped at any time.
    pub(crate) async fn next(&mut self) -> Report {
        let Some(done) = self.done.recv().await else { return std::future::pending().await };
        self.busy = None;
        let report = match done {
            Done::Found(found) => Report::Found(found),
            Done::Painted { number, result } => {
                let art = result.map(|(small, art)| {
                    self.small = Some((number, small));
                    Arc::new(art)
                });
                Report::Painted { number, art }
            }
        };
        self.go_on();
        report
    }

    fn go_on(&mut self) {
        if self.busy.is_none()
            && let Some((name, path)) = self.to_look_at.pop_front()
        {
            self.start(Task::Look { name, path });
        }
    }

    /// One at a time: however many pictures come, they take one processor and the memory of one.
    fn start(&mut self, task: Task) {
        self.busy = Some(Instant::now());
        let (sender, failing) = (self.sender.clone(), self.sender.clone());
        let number = if let Task::Paint { job, .. } = &task { job.number } else { 0 };
        let started = thread::Builder::new().name("pictures".to_owned()).spawn(move || {
            // Nobody is told who has gone.
            let _gone = sender.send(carry_out(task));
        });
        if started.is_err() {
            let _told = failing.send(Done::Painted { number, result: Err(Wrong::Crashed) });
        }
    }
}

/// Whatever a decoder does, something comes back.
fn carry_out(task: Task) -> Done {
    match task {
        Task::Look { name, path } => {
            let facts = guarded(|| facts(&path));
            Done::Found(Found { name, path, facts })
        }
        Task::Paint { job, known } => {
            let result = guarded(|| {
                let small = known.map_or_else(|| thumbnail(&job.path).map(Arc::new), Ok)?;
                let art = paint(&small, &job)?;
                Ok((small, art))
            });
            Done::Painted { number: job.number, result }
        }
    }
}

/// Nothing outlives a panic in here but the reason that there is nothing.
fn guarded<T>(read: impl FnOnce() -> Result<T, Wrong>) -> Result<T, Wrong> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or(Err(Wrong::Crashed))
}

#[cfg(feature = "pictures")]
#[cfg(test)]
mod tests {
    use super::*;

    fn picture(path: &Path) {
        image::RgbImage::from_fn(40, 30, |_, _| image::Rgb([9, 9, 9])).save(path).unwrap();
    }

    #[tokio::test]
    async fn one_picture_after_the_other_is_looked_at_and_painted() {
        let folder = tempfile::tempdir().unwrap();
        let (mut viewer, mut album) = (Viewer::new(true), Album::default());
        album.graphics = Some(Graphics::Sixel);
        viewer.offered("notes.txt", folder.path().join("notes.txt"));
        assert!(viewer.busy.is_none(), "no picture by its name");
        for name in ["a.png", "b.png", "c.png"] {
            let path = folder.path().join(name);
            if name != "b.png" {
                picture(&path);
            }
            viewer.offered(name, path);
        }
        for name in ["a.png", "b.png", "c.png"] {
            let Report::Found(found) = viewer.next().await else { panic!("nothing was to be painted") };
            assert_eq!((found.name.as_str(), found.facts.is_err()), (name, name == "b.png"));
            album.add(found);
        }
        album.open(None, 0).unwrap();
        album.set_place(ratatui::layout::Rect::new(0, 1, 20, 9));
        viewer.follow(&album, |_| Cell { width: 8, height: 16 });
        viewer.follow(&album, |_| Cell { width: 8, height: 16 });
        let Report::Painted { number: 2, art } = viewer.next().await else { panic!("the second picture") };
        album.painted(2, art);
        assert!(album.to_paint().is_some() && viewer.busy.is_none() && viewer.small.is_some());
        album.close();
        viewer.follow(&album, |_| Cell { width: 8, height: 16 });
        assert!(viewer.small.is_none(), "nothing is kept of what nobody looks at");
    }

    #[test]
    fn a_decoder_that_panics_is_a_picture_that_is_not_shown() {
        assert_eq!(guarded::<()>(|| panic!("a decoder")).unwrap_err(), Wrong::Crashed);
        assert_eq!(guarded(|| Ok(1)), Ok(1));
    }

    #[test]
    fn who_is_not_enabled_reads_nothing() {
        let mut viewer = Viewer::new(false);
        viewer.offered("a.png", PathBuf::from("/a.png"));
        assert!(viewer.busy.is_none() && viewer.to_look_at.is_empty());
    }
}
