//! Frame Streams as a conversation: what the reader of a live dnstap stream says and takes.
//!
//! A writer either waits for consent (bidirectional: READY, answered by ACCEPT; STOP, answered by
//! FINISH) or just starts (unidirectional: START). No socket here: bytes go in, replies come out.

use crate::message::be32;

/// A DNS message has 64 KiB at most, a frame two of them and some fields; as in `dnstap`.
pub const MAX_FRAME: usize = 1 << 20;
/// fstrm's limit for control frames (FSTRM_CONTROL_FRAME_LENGTH_MAX).
const MAX_CONTROL: usize = 512;
const CONTENT_TYPE: &[u8] = b"protobuf:dnstap.Dnstap";
const FIELD_CONTENT_TYPE: u32 = 1;

const ACCEPT: u32 = 1;
const START: u32 = 2;
const STOP: u32 = 3;
const READY: u32 = 4;
const FINISH: u32 = 5;

/// Why a stream is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No Frame Stream, or one that breaks its rules.
    NotFrames,
    /// A Frame Stream of something else than dnstap.
    OtherContent,
}

impl Fault {
    pub fn name(self) -> &'static str {
        match self {
            Fault::NotFrames => "not_frame_stream",
            Fault::OtherContent => "not_dnstap",
        }
    }
}

/// What to do with the bytes that were looked at.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// The first `bytes` of them are `frames` whole data frames.
    Data { bytes: usize, frames: u64 },
    /// A control frame of `bytes`; `reply` goes back to the writer (it may be empty).
    Control { bytes: usize, reply: Vec<u8> },
    /// The writer said goodbye; `reply` goes back.
    End { reply: Vec<u8> },
    /// Nothing whole yet.
    Wait,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Fresh,
    Accepted,
    Started,
}

/// One writer's stream.
#[derive(Debug)]
pub struct Conversation {
    state: State,
    bidirectional: bool,
}

impl Default for Conversation {
    fn default() -> Self {
        Conversation { state: State::Fresh, bidirectional: false }
    }
}

fn control(kind: u32, with_content: bool) -> Vec<u8> {
    let mut body = kind.to_be_bytes().to_vec();
    if with_content {
        body.extend(FIELD_CONTENT_TYPE.to_be_bytes());
        body.extend((CONTENT_TYPE.len() as u32).to_be_bytes());
        body.extend(CONTENT_TYPE);
    }
    let mut out = 0u32.to_be_bytes().to_vec();
    out.extend((body.len() as u32).to_be_bytes());
    out.extend(body);
    out
}

/// The content types of a control frame's body behind its kind.
fn content_types(mut fields: &[u8]) -> Option<Vec<&[u8]>> {
    let mut found = Vec::new();
    while !fields.is_empty() {
        if be32(fields, 0)? != FIELD_CONTENT_TYPE {
            return None;
        }
        let length = be32(fields, 4)? as usize;
        found.push(fields.get(8..8 + length)?);
        fields = fields.get(8 + length..)?;
    }
    Some(found)
}

impl Conversation {
    /// Look at what has come and was not taken yet.
    ///
    /// # Errors
    /// [`Fault`] when nothing that follows can be understood: hang up.
    pub fn step(&mut self, bytes: &[u8]) -> Result<Step, Fault> {
        let Some(length) = be32(bytes, 0) else { return Ok(Step::Wait) };
        if length > 0 {
            return self.data(bytes);
        }
        let Some(length) = be32(bytes, 4) else { return Ok(Step::Wait) };
        let length = length as usize;
        if !(4..=MAX_CONTROL).contains(&length) {
            return Err(Fault::NotFrames);
        }
        let Some(body) = bytes.get(8..8 + length) else { return Ok(Step::Wait) };
        self.control(body)
    }

    fn data(&mut self, bytes: &[u8]) -> Result<Step, Fault> {
        if self.state != State::Started {
            return Err(Fault::NotFrames);
        }
        let (mut at, mut frames) = (0, 0);
        while let Some(length) = be32(bytes, at).map(|length| length as usize).filter(|length| *length > 0) {
            if length > MAX_FRAME {
                return if frames > 0 { Ok(Step::Data { bytes: at, frames }) } else { Err(Fault::NotFrames) };
            }
            if bytes.len() < at + 4 + length {
                break;
            }
            at += 4 + length;
            frames += 1;
        }
        Ok(if frames > 0 { Step::Data { bytes: at, frames } } else { Step::Wait })
    }

    fn control(&mut self, body: &[u8]) -> Result<Step, Fault> {
        let bytes = 8 + body.len();
        let kind = be32(body, 0).ok_or(Fault::NotFrames)?;
        let content = content_types(&body[4..]).ok_or(Fault::NotFrames)?;
        let fits = content.is_empty() || content.contains(&CONTENT_TYPE);
        match (kind, self.state) {
            (READY | START, _) if !fits => Err(Fault::OtherContent),
            (READY, State::Fresh) => {
                (self.state, self.bidirectional) = (State::Accepted, true);
                Ok(Step::Control { bytes, reply: control(ACCEPT, true) })
            }
            (START, State::Fresh | State::Accepted) => {
                self.state = State::Started;
                Ok(Step::Control { bytes, reply: Vec::new() })
            }
            (STOP, State::Started) => {
                let reply = if self.bidirectional { control(FINISH, false) } else { Vec::new() };
                Ok(Step::End { reply })
            }
            _ => Err(Fault::NotFrames),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn data(payload: &[u8]) -> Vec<u8> {
        [&(payload.len() as u32).to_be_bytes(), payload].concat()
    }

    #[test]
    fn a_bidirectional_writer_is_accepted_and_finished() {
        let mut talk = Conversation::default();
        let ready = control(READY, true);
        assert_eq!(talk.step(&ready), Ok(Step::Control { bytes: ready.len(), reply: control(ACCEPT, true) }));
        let start = control(START, true);
        assert_eq!(talk.step(&start), Ok(Step::Control { bytes: start.len(), reply: Vec::new() }));
        let two = [data(b"one"), data(b"two"), vec![0, 0]].concat();
        assert_eq!(talk.step(&two), Ok(Step::Data { bytes: 14, frames: 2 }));
        assert_eq!(talk.step(&control(STOP, false)), Ok(Step::End { reply: control(FINISH, false) }));
    }

    #[test]
    fn a_unidirectional_writer_gets_no_reply() {
        let mut talk = Conversation::default();
        assert!(matches!(talk.step(&control(START, true)), Ok(Step::Control { reply, .. }) if reply.is_empty()));
        assert_eq!(talk.step(&control(STOP, false)), Ok(Step::End { reply: Vec::new() }));
    }

    #[test]
    fn what_is_no_dnstap_is_told() {
        let mut other = control(READY, true);
        let last = other.len() - 1;
        other[last] = b'q';
        assert_eq!(Conversation::default().step(&other), Err(Fault::OtherContent));
        assert_eq!(Conversation::default().step(b"GET / HTTP/1.1\r\n"), Err(Fault::NotFrames));
        assert_eq!(Conversation::default().step(&data(b"early")), Err(Fault::NotFrames));
    }

    #[test]
    fn good_frames_before_an_impossible_one_are_taken() {
        let mut talk = Conversation::default();
        talk.step(&control(START, true)).unwrap();
        let bytes = [data(b"good"), vec![0xFF; 8]].concat();
        assert_eq!(talk.step(&bytes), Ok(Step::Data { bytes: 8, frames: 1 }));
        assert_eq!(talk.step(&bytes[8..]), Err(Fault::NotFrames));
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_in_steps_or_refused(bytes in prop::collection::vec(0u8..6, 0..300)) {
            let (mut talk, mut at) = (Conversation::default(), 0);
            while let Ok(Step::Data { bytes: n, .. } | Step::Control { bytes: n, .. }) =
                talk.step(&bytes[at..])
            {
                prop_assert!(n > 0 && at + n <= bytes.len());
                at += n;
            }
        }
    }
}
