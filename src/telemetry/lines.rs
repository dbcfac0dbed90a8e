//! Progress as log lines.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::types::{Monitor, for_terminal};

/// One line when a phase begins and one when it ends; between them at most one in [`PAUSE`].
#[derive(Debug)]
pub(super) struct Lines {
    present: Mutex<Option<Phase>>,
    pause: Duration,
}

#[derive(Debug)]
struct Phase {
    name: String,
    unit: String,
    total: Option<u64>,
    done: u64,
    began: Instant,
    said: Instant,
}

const PAUSE: Duration = Duration::from_secs(10);

impl Lines {
    pub(super) fn new() -> Self {
        Self { present: Mutex::new(None), pause: PAUSE }
    }

    /// Ends the present phase.
    pub(super) fn finish(&self) {
        if let Some(phase) = self.present.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Self::end(&phase);
        }
    }

    fn end(phase: &Phase) {
        // A phase without steps has said all when it began.
        if phase.done > 0 {
            let seconds = phase.began.elapsed().as_secs_f64();
            tracing::info!("{}: {} {} in {seconds:.1} s", phase.name, phase.done, phase.unit);
        }
    }
}

impl Phase {
    fn say(&self) {
        match self.total {
            Some(total) => tracing::info!("{}: {} of {total} {}", self.name, self.done, self.unit),
            None => tracing::info!("{}: {} {}", self.name, self.done, self.unit),
        }
    }
}

impl Monitor for Lines {
    fn phase(&self, name: &str, unit: &str, total: Option<u64>) {
        let (name, unit) = (for_terminal(name).into_owned(), for_terminal(unit).into_owned());
        let now = Instant::now();
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = present.take() {
            Self::end(&before);
        }
        match total {
            Some(total) if total > 0 => tracing::info!("{name}: {total} {unit}"),
            _ => tracing::info!("{name}"),
        }
        *present = Some(Phase { name, unit, total, done: 0, began: now, said: now });
    }

    fn advance(&self, steps: u64) {
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(phase) = present.as_mut() {
            phase.done = phase.done.saturating_add(steps);
            if phase.said.elapsed() >= self.pause {
                phase.said = Instant::now();
                phase.say();
            }
        }
    }

    fn note(&self, text: &str) {
        tracing::info!("{}", for_terminal(text));
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.finish();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        sync::{Arc, Mutex},
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn lines_of(pause: Duration, steps: u64) -> Vec<String> {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .without_time()
            .with_target(false)
            .with_ansi(false)
            .with_level(false)
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let lines = Lines { present: Mutex::new(None), pause };
            lines.phase("reading", "kinds", Some(steps));
            (0..steps).for_each(|_| lines.advance(1));
            lines.note("a\u{1b}[2Jb is odd");
        });
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn steps_within_the_pause_make_no_lines() {
        let lines = lines_of(Duration::from_secs(600), 1000);
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert_eq!(lines[0], "reading: 1000 kinds");
        assert_eq!(lines[1], r"a\u{1b}[2Jb is odd");
        assert!(lines[2].starts_with("reading: 1000 kinds in "), "{lines:?}");
    }

    #[test]
    fn steps_after_the_pause_make_a_line_each() {
        let lines = lines_of(Duration::ZERO, 3);
        assert!(lines.contains(&"reading: 2 of 3 kinds".to_owned()), "{lines:?}");
        assert_eq!(lines.len(), 6, "{lines:?}");
    }
}
