//! The terminal while figures are drawn.

use std::io::{self, IsTerminal, Read, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::sync::mpsc;

use crate::display::visible;

/// The alternate screen, without cursor and without wrapped lines.
const BEGIN: &str = "\u{1b}[?1049h\u{1b}[?25l\u{1b}[?7l";
const END: &str = "\u{1b}[?7h\u{1b}[?25h\u{1b}[?1049l";
/// Lines of a terminal that does not tell.
const USUAL_LINES: usize = 24;
/// Keys that wait.
const KEYS: usize = 16;

/// The terminal. Restored when it is dropped.
pub(super) struct Screen {
    out: io::Stdout,
    /// Of the keyboard, if stdin is one.
    before: Option<Termios>,
}

impl Screen {
    /// Takes the terminal. Keys that are pressed come without Enter; Ctrl-C stays a signal.
    ///
    /// # Errors
    ///
    /// Fails if the terminal cannot be set.
    pub(super) fn open() -> io::Result<(Self, mpsc::Receiver<u8>)> {
        let (keys, pressed) = mpsc::channel(KEYS);
        let mut before = None;
        if io::stdin().is_terminal() {
            let modes = tcgetattr(io::stdin())?;
            let mut raw = modes.clone();
            raw.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
            tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
            before = Some(modes);
            // It ends with the process: nothing else ends a read of a terminal.
            std::thread::spawn(move || {
                for key in io::stdin().lock().bytes() {
                    let Ok(key) = key else { return };
                    if keys.blocking_send(key).is_err() {
                        return;
                    }
                }
            });
        }
        let mut screen = Self { out: io::stdout(), before };
        screen.write(BEGIN)?;
        Ok((screen, pressed))
    }

    /// Draws the state and a text, as many lines as fit.
    ///
    /// # Errors
    ///
    /// Fails if stdout cannot be written.
    pub(super) fn draw(&mut self, state: &str, text: &str) -> io::Result<()> {
        // A terminal without a size has 0.
        let lines =
            tcgetwinsize(&self.out).ok().map(|size| usize::from(size.ws_row)).filter(|lines| *lines > 0);
        let lines = lines.unwrap_or(USUAL_LINES);
        self.write(&frame(state, text, lines))
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // There is no one to report a failure to.
        let _ = self.write(END);
        if let Some(before) = &self.before {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}

/// Returns what replaces the screen: each line, without the rest of what was there.
fn frame(state: &str, text: &str, lines: usize) -> String {
    let mut out = String::from("\u{1b}[H");
    let state = format!("fanfare top: {}", visible(state).replace('\n', " "));
    let shown: Vec<&str> = std::iter::once(&*state).chain(text.lines()).take(lines.max(1)).collect();
    out.push_str(&shown.join("\u{1b}[K\r\n"));
    out.push_str("\u{1b}[K\u{1b}[J");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_as_many_lines_as_fit_and_no_other_escapes() {
        let frame = frame("no \u{1b}[2J answer", "one\ntwo\nthree", 3);
        let erase = "\u{1b}[K";
        let state = "fanfare top: no \\u{1b}[2J answer";
        assert_eq!(frame, format!("\u{1b}[H{state}{erase}\r\none{erase}\r\ntwo{erase}\u{1b}[J"));
    }
}
