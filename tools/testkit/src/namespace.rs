//! Two network namespaces with one cable between them, which a test can pull.

use std::fs::File;
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::gettid;

/// Where nodes listen.
pub const HERE: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
/// Where the other side is.
const THERE: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);

/// The side of the cable where clients are.
#[derive(Clone, Debug)]
pub struct FarSide(Arc<File>);

/// Runs a test in a namespace of its own: Redis, nodes and whatever else the test starts on its thread are at [`HERE`],
/// and reached from the [`FarSide`] by one cable.
///
/// # Panics
///
/// When the system allows no namespaces (it takes root), or the test panics.
pub fn with_a_cable<F: Future<Output = ()>>(test: impl FnOnce(FarSide) -> F + Send + 'static) {
    let thread = std::thread::spawn(move || {
        enter_new();
        command("ip link set lo up");
        let far = FarSide::linked();
        command(&format!("ip addr add {HERE}/24 dev near && ip link set near up"));
        far.command(&format!("ip link set lo up && ip addr add {THERE}/24 dev far && ip link set far up"));
        runtime().block_on(test(far));
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

impl FarSide {
    fn linked() -> Self {
        let (sender, made) = mpsc::channel();
        let (done, wait) = mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            enter_new();
            let file = File::open("/proc/thread-self/ns/net").expect("the thread's own namespace");
            sender.send((gettid(), file)).expect("the receiver waits for it");
            // The thread names the namespace until the cable is in it.
            let _ = wait.recv();
        });
        let (id, file) = made.recv().expect("the namespace is made");
        command(&format!("ip link add near type veth peer name far netns {id}"));
        drop(done);
        thread.join().expect("it only waits");
        Self(Arc::new(file))
    }

    /// Pulls the cable: packets are lost, and neither side gets an error.
    pub fn pull(&self) {
        self.command("ip link set far down");
    }

    /// Runs clients on this side, on a thread of their own, until the handle is dropped.
    ///
    /// # Panics
    ///
    /// When `open` panics.
    pub fn clients<T: 'static, F: Future<Output = T>>(
        &self,
        open: impl FnOnce() -> F + Send + 'static,
    ) -> Clients {
        let (far, (opened, is_open), (done, wait)) = (self.clone(), mpsc::channel(), mpsc::channel::<()>());
        let thread = std::thread::spawn(move || {
            far.enter();
            let runtime = runtime();
            let clients = runtime.block_on(open());
            let _ = opened.send(());
            // They stay unchanged: they are not polled, so they read and write nothing more by themselves.
            let _ = wait.recv();
            drop(clients);
        });
        let ready = is_open.recv();
        let clients = Clients { done: Some(done), thread: Some(thread) };
        assert!(ready.is_ok(), "clients on the far side could not be opened");
        clients
    }

    fn enter(&self) {
        setns(&*self.0, CloneFlags::CLONE_NEWNET).expect("a namespace of ours");
    }

    fn command(&self, line: &str) {
        let (far, line) = (self.clone(), line.to_owned());
        let thread = std::thread::spawn(move || {
            far.enter();
            command(&line);
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    }
}

/// Clients on the far side. They close when this is dropped.
#[derive(Debug)]
pub struct Clients {
    done: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Clients {
    fn drop(&mut self) {
        drop(self.done.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn enter_new() {
    unshare(CloneFlags::CLONE_NEWNET).unwrap_or_else(|e| {
        panic!("this test needs network namespaces, and the system refuses them ({e}): run it as root")
    });
}

fn command(line: &str) {
    let output = Command::new("sh").args(["-c", line]).output().expect("sh can be run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {said} (the package iproute2 brings ip)");
}

fn runtime() -> tokio::runtime::Runtime {
    // All sockets are made on this thread, and so in its namespace.
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}
