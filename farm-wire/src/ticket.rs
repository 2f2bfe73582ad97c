//! Tickets: one copyable string that lets a machine or a person join a farm.
//!
//! The text is `tessera-` and base32 of a small binary, all lower case, so that
//! a double click selects it whole but for the prefix and a person may dictate
//! it. The binary: version (1 byte), its whole length (2), role (1), id (8),
//! secret (32), CA fingerprint (32), expiry (8), number of addresses (1), each
//! address with its length before it (1), and the first 4 bytes of BLAKE3 over
//! all that. Numbers are big-endian.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD;
use zeroize::Zeroizing;

use crate::Role;

const PREFIX: &str = "tessera-";
const VERSION: u8 = 1;
const CHECKSUM_BYTES: usize = 4;

/// Addresses that a ticket holds; the text takes the first of them.
pub const MAX_ADDRESSES: usize = 16;

/// Longest ticket: all addresses of a full 255 bytes.
const MAX_CHARACTERS: usize = 8 * (128 + MAX_ADDRESSES * 256) / 5;

/// Where the master is, how to recognise it, and a secret that it exchanges
/// once or more for a client certificate.
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket {
    /// `host:port`, most useful first.
    pub addresses: Vec<String>,
    /// SHA-256 of the CA's certificate.
    pub ca_fingerprint: [u8; 32],
    /// What the joiner will be.
    pub role: Role,
    /// Names the ticket on the master.
    pub id: u64,
    /// Proves the ticket; never logged.
    pub secret: [u8; 32],
    /// Milliseconds since the Unix epoch after which it is void.
    pub expires_at_ms: u64,
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket")
            .field("addresses", &self.addresses)
            .field("role", &self.role)
            .field("id", &format_args!("{:016x}", self.id))
            .field("expires_at_ms", &self.expires_at_ms)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Ticket {
    /// The ticket's text, secret and all. Addresses beyond [`MAX_ADDRESSES`] or
    /// longer than 255 bytes are left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = Zeroizing::new(BASE32_NOPAD.encode(&self.to_bytes()).to_ascii_lowercase());
        write!(f, "{PREFIX}{}", *text)
    }
}

impl Ticket {
    fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let addresses: Vec<(u8, &str)> = self
            .addresses
            .iter()
            .filter_map(|address| Some((u8::try_from(address.len()).ok()?, address.as_str())))
            .take(MAX_ADDRESSES)
            .collect();
        let mut bytes = Zeroizing::new(vec![VERSION, 0, 0, role_number(self.role)]);
        bytes.extend(self.id.to_be_bytes());
        bytes.extend(self.secret);
        bytes.extend(self.ca_fingerprint);
        bytes.extend(self.expires_at_ms.to_be_bytes());
        bytes.push(u8::try_from(addresses.len()).expect("at most MAX_ADDRESSES"));
        for (length, address) in addresses {
            bytes.push(length);
            bytes.extend(address.as_bytes());
        }
        let length = u16::try_from(bytes.len() + CHECKSUM_BYTES).expect("16 addresses of 256 bytes fit");
        bytes[1..3].copy_from_slice(&length.to_be_bytes());
        let checksum = checksum(&bytes);
        bytes.extend(checksum);
        bytes
    }
}

/// A text that is not a ticket.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not a ticket: {0}")]
pub struct ParseTicketError(pub String);

impl FromStr for Ticket {
    type Err = ParseTicketError;

    /// Reads a ticket's text. White space (a mail program's line breaks, say)
    /// and the case of letters do not matter.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = decode_text(text).map_err(ParseTicketError)?;
        let (body, found) = bytes.split_at(bytes.len() - CHECKSUM_BYTES);
        if checksum(body) != found {
            return fail("its check sum is wrong, so a character was changed; copy it whole once more");
        }
        parse_body(body).ok_or_else(|| ParseTicketError("it was made wrongly; ask for a new one".into()))
    }
}

fn fail<T>(problem: impl Into<String>) -> Result<T, ParseTicketError> {
    Err(ParseTicketError(problem.into()))
}

/// Text to bytes; on success there are as many bytes as the ticket says, and
/// at least a version, a length and a check sum.
fn decode_text(text: &str) -> Result<Zeroizing<Vec<u8>>, String> {
    let bound = PREFIX.len() + MAX_CHARACTERS;
    let text: String = text.chars().filter(|c| !c.is_whitespace()).take(bound + 1).collect();
    let text = Zeroizing::new(text.to_ascii_lowercase());
    let Some(digits) = text.strip_prefix(PREFIX) else {
        return Err(format!("it does not begin with `{PREFIX}`"));
    };
    if text.len() > bound {
        return Err("it is far too long".into());
    }
    let digits = Zeroizing::new(digits.to_ascii_uppercase());
    if let Some(wrong) = digits.chars().find(|c| !matches!(c, 'A'..='Z' | '2'..='7')) {
        return Err(format!("it holds the character `{}`, which no ticket has", wrong.to_lowercase()));
    }
    // Eight characters are five bytes: the version and the length are in them.
    let head = digits.get(..8).and_then(|head| BASE32_NOPAD.decode(head.as_bytes()).ok());
    let Some(&[version, high, low, ..]) = head.as_deref() else {
        return Err("it is truncated: hardly anything follows its first word".into());
    };
    if version != VERSION {
        return Err(format!("it is of version {version} and this program reads version {VERSION}"));
    }
    let length = usize::from(u16::from_be_bytes([high, low]));
    let (expected, found) = ((length * 8).div_ceil(5), digits.len());
    if found < expected {
        let (found, expected) = (found + PREFIX.len(), expected + PREFIX.len());
        return Err(format!("it is truncated: {found} of its {expected} characters are here"));
    }
    if found > expected || length < 3 + CHECKSUM_BYTES {
        return Err("it is longer than it says; copy the ticket alone".into());
    }
    let bytes = BASE32_NOPAD
        .decode(digits.as_bytes())
        .map_err(|_| "its last character is wrong; copy it whole once more".to_owned())?;
    Ok(Zeroizing::new(bytes))
}

/// The fields after a good check sum; `None` if they do not fit together.
fn parse_body(body: &[u8]) -> Option<Ticket> {
    let mut rest = body.get(3..)?;
    let role = role_from_number(take::<1>(&mut rest)?[0])?;
    let id = u64::from_be_bytes(take(&mut rest)?);
    let secret = take(&mut rest)?;
    let ca_fingerprint = take(&mut rest)?;
    let expires_at_ms = u64::from_be_bytes(take(&mut rest)?);
    let [count] = take(&mut rest)?;
    let mut addresses = Vec::new();
    for _ in 0..count {
        let [length] = take(&mut rest)?;
        let (address, after) = rest.split_at_checked(length.into())?;
        rest = after;
        addresses.push(parse_address(address)?);
    }
    let whole = rest.is_empty() && (1..=MAX_ADDRESSES).contains(&addresses.len());
    whole.then_some(Ticket { addresses, ca_fingerprint, role, id, secret, expires_at_ms })
}

fn parse_address(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    let graphic = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    graphic.then(|| text.to_owned())
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*head)
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let digest = blake3::hash(bytes);
    *digest.as_bytes().first_chunk().expect("a digest has 32 bytes")
}

fn role_number(role: Role) -> u8 {
    match role {
        Role::Node => 1,
        Role::Artist => 2,
        Role::Admin => 3,
    }
}

fn role_from_number(number: u8) -> Option<Role> {
    Role::ALL.into_iter().find(|&role| role_number(role) == number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ticket() -> Ticket {
        Ticket {
            addresses: vec!["render.studio.example:7700".into(), "[2001:db8::1]:7700".into()],
            ca_fingerprint: [0xfe; 32],
            role: Role::Artist,
            id: 0x0123_4567_89ab_cdef,
            secret: [0x5b; 32],
            expires_at_ms: 1_900_000_000_000,
        }
    }

    fn problem(text: &str) -> String {
        text.parse::<Ticket>().expect_err("not a ticket").to_string()
    }

    #[test]
    fn text_round_trips_whatever_its_case_and_line_breaks() {
        let text = ticket().to_string();
        assert_eq!(text.parse(), Ok(ticket()));
        assert_eq!(text.to_uppercase().parse(), Ok(ticket()));
        let (left, right) = text.split_at(70);
        assert_eq!(format!("  {left}\r\n {right}\n").parse(), Ok(ticket()));
    }

    #[test]
    fn every_truncation_is_called_one() {
        let text = ticket().to_string();
        for length in PREFIX.len()..text.len() {
            assert!(problem(&text[..length]).contains("truncated"), "{length}");
        }
        assert!(problem("tessera").contains("does not begin"));
        assert!(problem("").contains("does not begin"));
    }

    #[test]
    fn every_changed_character_is_noticed() {
        let text = ticket().to_string();
        for index in PREFIX.len()..text.len() {
            let other = if text.as_bytes()[index] == b'a' { 'b' } else { 'a' };
            let typo = format!("{}{other}{}", &text[..index], &text[index + 1..]);
            assert!(typo.parse::<Ticket>().is_err(), "{index}");
        }
        let middle = format!("{}q{}", &text[..60], &text[61..]);
        assert!(middle == text || problem(&middle).contains("check sum"));
    }

    #[test]
    fn foreign_characters_and_tails_are_named() {
        let text = ticket().to_string();
        assert!(problem(&format!("{text}!")).contains("`!`"));
        assert!(problem(&format!("{text}aa")).contains("longer"));
        assert!(problem(&format!("{text}{}", "a".repeat(20_000))).contains("too long"));
        assert!(problem("tessera-aiaaaaaa").contains("version 2"));
    }

    #[test]
    fn debug_does_not_show_the_secret() {
        let text = format!("{:?}", ticket());
        assert!(!text.contains("91") && !text.to_lowercase().contains("5b"), "{text}");
        assert!(text.contains("0123456789abcdef"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(tessera-)?\\PC{0,300}") {
            let _ = text.parse::<Ticket>();
        }

        #[test]
        fn any_bytes_with_a_good_check_sum_are_read_or_refused(tail in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut bytes = vec![VERSION, 0, 0];
            bytes.extend(tail);
            let length = u16::try_from(bytes.len() + CHECKSUM_BYTES).expect("short");
            bytes[1..3].copy_from_slice(&length.to_be_bytes());
            bytes.extend(checksum(&bytes));
            let text = format!("{PREFIX}{}", BASE32_NOPAD.encode(&bytes));
            if let Ok(ticket) = text.parse::<Ticket>() {
                prop_assert_eq!(ticket.to_string().parse(), Ok(ticket));
            }
        }
    }
}
