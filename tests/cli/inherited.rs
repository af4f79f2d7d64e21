//! Sockets that somebody else has opened, as systemd does it: the tracker takes them over, and they outlive it.

use crate::support::{PATIENCE, Place};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use swarm_proto::announce::http::{announce_url, parse_reply};
use swarm_proto::announce::udp::{Family, Reply, TransactionId, announce_request, connect_request};
use swarm_proto::announce::{Announce, AnnounceReply};
use swarm_proto::id::{InfoHash, PeerId};
use swarm_proto::native::{
    Decoded, Online, PeerMessage, Request, RequestId, Response, Sender, Serve, TrackerMessage, decode,
};

/// What is handed over comes as the three streams of a shell, which moves them to where systemd would have put them.
const HANDED_OVER: &str = "export LISTEN_PID=$$ LISTEN_FDS=3 LISTEN_FDNAMES=http:http:native; \
                           exec \"$@\" 3<&0 4<&1 5<&2 </dev/null >out 2>log";

/// Open before the tracker is there, and after it has gone.
struct Sockets {
    http: TcpListener,
    udp: UdpSocket,
    native: TcpListener,
}

/// A tracker over these sockets, killed when dropped.
struct Tracker(Child);

impl Sockets {
    fn open() -> Self {
        let listener = || TcpListener::bind("127.0.0.1:0").unwrap();
        Self { http: listener(), udp: UdpSocket::bind("127.0.0.1:0").unwrap(), native: listener() }
    }

    fn start(&self, place: &Place) -> Tracker {
        let swarm = place.swarm("tracker --config tracker.toml --state peers");
        let mut shell = Command::new("sh");
        shell.args(["-c", HANDED_OVER, "sh"]).arg(swarm.get_program()).args(swarm.get_args());
        shell.current_dir(place.path("."));
        let [http, native] = [&self.http, &self.native].map(|socket| OwnedFd::from(socket.try_clone().unwrap()));
        shell.stdin(http).stdout(OwnedFd::from(self.udp.try_clone().unwrap())).stderr(native);
        Tracker(shell.spawn().unwrap())
    }
}

impl Tracker {
    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.0.id().to_string()]).status().unwrap().success());
    }

    fn end(mut self) -> Option<i32> {
        self.signal("-TERM");
        self.0.wait().unwrap().code()
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _ended_already = self.0.wait();
    }
}

fn announce(port: u16) -> Announce {
    Announce::new(InfoHash([7; 20]), PeerId([port.to_be_bytes()[1]; 20]), port, 1)
}

fn ports(reply: &AnnounceReply) -> Vec<u16> {
    let mut ports: Vec<u16> = reply.peers.iter().map(|peer| peer.address.port()).collect();
    ports.sort_unstable();
    ports
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A request over HTTP that waits for its answer.
fn ask_http(sockets: &Sockets, announce: &Announce) -> TcpStream {
    let target = announce_url("http://t/announce", announce).unwrap().replace("http://t", "");
    let mut stream = connect(sockets.http.local_addr().unwrap());
    write!(stream, "GET {target} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").unwrap();
    stream
}

fn answer_of_http(mut stream: TcpStream) -> AnnounceReply {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let body = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
    parse_reply(&answer[body..]).unwrap()
}

fn over_udp(sockets: &Sockets, announce: &Announce) -> AnnounceReply {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(sockets.udp.local_addr().unwrap()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let ask = |datagram: &[u8]| {
        socket.send(datagram).unwrap();
        let mut buffer = [0; 2_048];
        let length = socket.recv(&mut buffer).unwrap();
        Reply::read(&buffer[..length], Family::V4).unwrap().1
    };
    let Reply::Connected(id) = ask(&connect_request(TransactionId(1))) else { panic!("no connection id") };
    match ask(&announce_request(id, TransactionId(2), announce, "")) {
        Reply::Announced(reply) => reply,
        other => panic!("{other:?}"),
    }
}

fn over_native(sockets: &Sockets, announce: &Announce) -> Vec<u16> {
    let mut stream = connect(sockets.native.local_addr().unwrap());
    let &Announce { info_hash, peer_id, port, uploaded, downloaded, left, event, num_want, .. } = announce;
    let serve = Serve { info_hash, uploaded, downloaded, left, event, num_want, publication: None };
    for (id, request) in [(1, Request::Online(Online::new(peer_id, port))), (2, Request::Serve(serve))] {
        stream.write_all(&PeerMessage::Request(RequestId(id), request).encode()).unwrap();
    }
    let (mut received, mut buffer) = (Vec::new(), [0; 2_048]);
    loop {
        while let Decoded::Frame(frame, used) = decode(&received, Sender::Tracker).unwrap() {
            let message = TrackerMessage::parse(&frame).unwrap();
            received.drain(..used);
            if let TrackerMessage::Response(RequestId(2), Response::Serving(serving)) = message {
                let mut ports: Vec<u16> = serving.list.peers.iter().map(SocketAddr::port).collect();
                ports.sort_unstable();
                return ports;
            }
        }
        let length = stream.read(&mut buffer).unwrap();
        assert!(length > 0, "the tracker has closed");
        received.extend_from_slice(&buffer[..length]);
    }
}

#[test]
fn sockets_are_taken_over_and_outlive_the_tracker() {
    let (place, sockets) = (Place::new(), Sockets::open());
    let [http, native] = [&sockets.http, &sockets.native].map(|socket| socket.local_addr().unwrap());
    let udp = sockets.udp.local_addr().unwrap();
    // The same addresses stand in the options, and one more.
    let options = |interval: u32| {
        let text = format!(
            "http = ['{http}', '127.0.0.1:0']\nudp = '{udp}'\nnative = '{native}'\ninterval = '{interval}m'\nlog-json = true\n"
        );
        place.write("tracker.toml", text.as_bytes());
    };
    options(10);
    // Who comes too early waits.
    let early = ask_http(&sockets, &announce(1));
    let tracker = sockets.start(&place);
    let reply = answer_of_http(early);
    assert_eq!((ports(&reply), reply.interval), (vec![], Duration::from_secs(600)));
    assert_eq!(ports(&over_udp(&sockets, &announce(2))), [1]);
    assert_eq!(over_native(&sockets, &announce(3)), [1, 2]);
    let urls = std::fs::read_to_string(place.path("out")).unwrap();
    let expected = [format!("http://{http}/announce"), format!("udp://{udp}/announce"), format!("native://{native}")];
    assert_eq!(urls.lines().count(), 4, "{urls}");
    expected.iter().for_each(|url| assert!(urls.lines().any(|line| line == url), "{url}: {urls}"));

    options(20);
    tracker.signal("-HUP");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let reply = answer_of_http(ask_http(&sockets, &announce(1)));
        // The native peer has gone with its connection.
        if (reply.interval.as_secs(), ports(&reply)) == (1_200, vec![2]) {
            break;
        }
        assert!(Instant::now() < deadline, "the options are not read again, or a peer stays: {reply:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    let log = std::fs::read_to_string(place.path("log")).unwrap();
    assert!(!log.contains("when the tracker is started again"), "{log}");
    assert_eq!(tracker.end(), Some(0), "{log}");

    // Nobody is turned away meanwhile, and the peers are those of before.
    let between = ask_http(&sockets, &announce(4));
    let again = sockets.start(&place);
    assert_eq!(ports(&answer_of_http(between)), [1, 2]);
    assert_eq!(ports(&over_udp(&sockets, &announce(5))), [1, 2, 4]);
    assert_eq!(again.end(), Some(0));
}

#[test]
fn what_is_no_socket_is_refused() {
    let place = Place::new();
    let swarm = place.swarm("tracker --http 127.0.0.1:0");
    let mut shell = Command::new("sh");
    let script = "export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$@\" 3</dev/null";
    shell.args(["-c", script, "sh"]).arg(swarm.get_program()).args(swarm.get_args()).stdin(Stdio::null());
    let ran = shell.output().unwrap();
    let told = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(ran.status.code(), Some(2), "{told}");
    assert!(told.contains("inherited descriptor 0 is neither a TCP listener nor a UDP socket"), "{told}");
}
