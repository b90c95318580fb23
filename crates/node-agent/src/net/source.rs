//! Who is at the other end of a local connection: from the kernel's table of sockets to a process to a pod.

use std::collections::HashSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use apimachinery::Key;
use process_tree::Tree;

use crate::agent::Shared;

/// `TCP_LISTEN` in the kernel's table.
const LISTEN: u8 = 0x0A;

/// A TCP socket of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Socket {
    pub(super) local: (Ipv4Addr, u16),
    pub(super) remote: (Ipv4Addr, u16),
    pub(super) listens: bool,
    pub(super) inode: u64,
}

impl Socket {
    /// Reads a line of `/proc/net/tcp` or `/proc/net/tcp6` (proc_pid_net(5)). IPv6 counts if it is IPv4 in disguise, or any.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let local = address(fields.next()?)?;
        let remote = address(fields.next()?)?;
        let state = u8::from_str_radix(fields.next()?, 16).ok()?;
        let inode = fields.nth(5)?.parse().ok()?;
        Some(Self { local, remote, listens: state == LISTEN, inode })
    }
}

/// `0100007F:1F90`, each 32-bit word in the machine's byte order.
fn address(text: &str) -> Option<(Ipv4Addr, u16)> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |hex: &str| u32::from_str_radix(hex, 16).ok().map(u32::to_ne_bytes);
    let address = match address.len() {
        8 => address,
        32 => {
            let (prefix, last) = address.split_at_checked(24)?;
            let mapped = word(prefix.get(16..)?)? == [0, 0, 0xFF, 0xFF];
            let zero = prefix.get(..16)?.bytes().all(|byte| byte == b'0');
            let any = zero && prefix.ends_with("00000000") && last == "00000000";
            if !(zero && mapped || any) {
                return None;
            }
            last
        }
        _ => return None,
    };
    Some((Ipv4Addr::from(word(address)?), port))
}

/// All TCP sockets of this machine.
pub(super) fn sockets() -> Vec<Socket> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let texts = tables.iter().filter_map(|path| fs::read_to_string(path).ok());
    let lines =
        |text: String| -> Vec<Socket> { text.lines().skip(1).filter_map(Socket::parse).collect() };
    texts.flat_map(lines).collect()
}

/// The inodes of a process's sockets.
fn inodes_of(id: u32) -> HashSet<u64> {
    let files = fs::read_dir(format!("/proc/{id}/fd")).into_iter().flatten().flatten();
    let links = files.filter_map(|file| fs::read_link(file.path()).ok());
    let inodes = links.filter_map(|link: PathBuf| {
        link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    });
    inodes.collect()
}

/// The pod whose process has the client's end of a connection. `None`: nobody in the cluster.
pub(super) fn pod_of(shared: &Shared, client: SocketAddr, server: SocketAddr) -> Option<Key> {
    let (IpAddr::V4(client_ip), IpAddr::V4(server_ip)) = (client.ip(), server.ip()) else {
        return None;
    };
    let (local, remote) = ((client_ip, client.port()), (server_ip, server.port()));
    let all = sockets();
    let inode = all.iter().find(|one| one.local == local && one.remote == remote)?.inode;
    owner(shared, |inodes| inodes.contains(&inode))
}

/// The pod one of whose processes has certain sockets.
fn owner(shared: &Shared, has: impl Fn(&HashSet<u64>) -> bool) -> Option<Key> {
    let supervisors = supervisors(shared);
    let all = Tree::look();
    let found = supervisors.into_iter().find(|(_, supervisor)| {
        let own = all.alive_below(*supervisor);
        own.iter().any(|process| has(&inodes_of(process.id)))
    });
    found.map(|(key, _)| key)
}

fn supervisors(shared: &Shared) -> Vec<(Key, u32)> {
    let handles = shared.handles();
    let all = handles.values().filter_map(|handle| {
        let pid = handle.view.borrow().sandbox.as_ref()?.pid();
        Some((handle.key.clone(), pid))
    });
    all.collect()
}

/// Another address on which one of a pod's own processes listens.
pub(super) fn listener_of(shared: &Shared, pod: &Key, port: u16) -> Option<Ipv4Addr> {
    let (_, supervisor) = supervisors(shared).into_iter().find(|(key, _)| key == pod)?;
    let own = Tree::look().alive_below(supervisor);
    let inodes: HashSet<u64> = own.iter().flat_map(|process| inodes_of(process.id)).collect();
    let mut all = sockets().into_iter();
    let found =
        all.find(|one| one.listens && one.local.1 == port && inodes.contains(&one.inode))?;
    let address = found.local.0;
    Some(if address.is_unspecified() { Ipv4Addr::LOCALHOST } else { address })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_listener_of_this_process_is_in_the_table() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let all = sockets();
        let found = all.iter().find(|one| one.listens && one.local == (Ipv4Addr::LOCALHOST, port));
        assert!(inodes_of(std::process::id()).contains(&found.unwrap().inode));
    }

    proptest! {
        #[test]
        fn no_line_makes_the_parser_panic(line in "[ 0-9A-F:é]{0,160}") {
            let _any_answer = Socket::parse(&line);
        }

        #[test]
        fn any_address_of_any_length_can_be_read(text in "[0F]{0,40}:[0F]{0,6}") {
            let _any_answer = address(&text);
        }
    }
}
