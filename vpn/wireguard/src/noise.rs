//! The handshake, Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s (the paper, 5.4.2 to 5.4.5).

use crate::aead::{TAG_BYTES, open, seal};
use crate::hash::{Hash, hash, kdf};
use crate::keys::{CipherKey, KEY_BYTES, PresharedKey, PrivateKey, PublicKey, SharedKey};
use crate::messages::{Initiation, Response, SealedStamp, SealedStatic};
use crate::platform::Tai64n;
use zeroize::{Zeroize, ZeroizeOnDrop};

const CONSTRUCTION: &[u8] = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
const IDENTIFIER: &[u8] = b"WireGuard v1 zx2c4 Jason@zx2c4.com";
/// What stands for a preshared key where there is none (5.2).
const NO_PRESHARED: [u8; KEY_BYTES] = [0; KEY_BYTES];

/// Who we are.
pub struct Identity {
    private: PrivateKey,
    pub public: PublicKey,
}

impl Identity {
    pub fn new(private: PrivateKey) -> Self {
        let public = private.public();
        Self { private, public }
    }

    pub fn agree(&self, with: &PublicKey) -> Option<SharedKey> {
        self.private.agree(with)
    }
}

/// Both keys of a new session.
pub struct SessionKeys {
    pub send: CipherKey,
    pub receive: CipherKey,
}

/// What both sides of a handshake compute: the chaining key and the hash of all that was said.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
struct Transcript {
    chain: Hash,
    hash: Hash,
}

impl Transcript {
    fn new(responder: &PublicKey) -> Self {
        let chain = hash(&[CONSTRUCTION]);
        let hash = hash(&[&hash(&[&chain, IDENTIFIER]), &responder.0]);
        Self { chain, hash }
    }

    fn mix_hash(&mut self, said: &[u8]) {
        self.hash = hash(&[&self.hash, said]);
    }

    fn mix_key(&mut self, secret: &[u8; KEY_BYTES]) {
        let keys = kdf::<1>(&self.chain, secret);
        let [chain] = &*keys;
        self.chain = *chain;
    }

    fn mix_key_for_cipher(&mut self, secret: &[u8; KEY_BYTES]) -> CipherKey {
        let keys = kdf::<2>(&self.chain, secret);
        let [chain, key] = &*keys;
        self.chain = *chain;
        CipherKey::new(*key)
    }

    fn mix_preshared(&mut self, preshared: Option<&PresharedKey>) -> CipherKey {
        let keys = kdf::<3>(&self.chain, preshared.map_or(&NO_PRESHARED, |key| key.as_bytes()));
        let [chain, hashed, key] = &*keys;
        self.chain = *chain;
        self.mix_hash(hashed);
        CipherKey::new(*key)
    }

    fn mix_ephemeral(&mut self, ephemeral: &PublicKey) {
        self.mix_key(&ephemeral.0);
        self.mix_hash(&ephemeral.0);
    }

    /// Encrypts `said` in front of room for the tag.
    fn seal<const N: usize>(&mut self, key: &CipherKey, said: &[u8]) -> Option<[u8; N]> {
        let mut sealed = [0; N];
        let (text, tag) = sealed.split_last_chunk_mut::<TAG_BYTES>()?;
        text.copy_from_slice(text.len().eq(&said.len()).then_some(said)?);
        *tag = seal(key, 0, &self.hash, text)?;
        self.mix_hash(&sealed);
        Some(sealed)
    }

    fn open<const N: usize>(&mut self, key: &CipherKey, sealed: &[u8]) -> Option<[u8; N]> {
        let (text, tag) = sealed.split_last_chunk::<TAG_BYTES>()?;
        let mut said: [u8; N] = text.try_into().ok()?;
        open(key, 0, &self.hash, &mut said, tag)?;
        self.mix_hash(sealed);
        Some(said)
    }

    /// Keys of the initiator (5.4.5); the responder's are the same ones, crossed.
    fn session_keys(&self) -> SessionKeys {
        let keys = kdf::<2>(&self.chain, &[]);
        let [send, receive] = &*keys;
        SessionKeys { send: CipherKey::new(*send), receive: CipherKey::new(*receive) }
    }
}

/// An initiation that was sent.
pub struct Pending {
    /// Our index, by which the response names it.
    pub local: u32,
    ephemeral: PrivateKey,
    transcript: Transcript,
}

/// Makes an initiation.
pub fn initiate(
    identity: &Identity,
    responder: &PublicKey,
    static_static: &SharedKey,
    ephemeral: PrivateKey,
    local: u32,
    stamp: Tai64n,
) -> Option<(Pending, Initiation)> {
    let mut transcript = Transcript::new(responder);
    let ephemeral_public = ephemeral.public();
    transcript.mix_ephemeral(&ephemeral_public);
    let key = transcript.mix_key_for_cipher(ephemeral.agree(responder)?.as_bytes());
    let sealed_static: SealedStatic = transcript.seal(&key, &identity.public.0)?;
    let key = transcript.mix_key_for_cipher(static_static.as_bytes());
    let sealed_stamp: SealedStamp = transcript.seal(&key, &stamp.0)?;
    let initiation = Initiation { sender: local, ephemeral: ephemeral_public, sealed_static, sealed_stamp };
    Some((Pending { local, ephemeral, transcript }, initiation))
}

impl Pending {
    /// Takes the response. `None`: forged; the true one may still come.
    pub fn finish(
        &self,
        identity: &Identity,
        preshared: Option<&PresharedKey>,
        response: &Response,
    ) -> Option<SessionKeys> {
        let mut transcript = self.transcript.clone();
        transcript.mix_ephemeral(&response.ephemeral);
        transcript.mix_key(self.ephemeral.agree(&response.ephemeral)?.as_bytes());
        transcript.mix_key(identity.agree(&response.ephemeral)?.as_bytes());
        let key = transcript.mix_preshared(preshared);
        let [] = transcript.open(&key, &response.sealed_empty)?;
        Some(transcript.session_keys())
    }
}

/// An initiation whose sender is known, but not yet proven: anyone can repeat one that was seen.
pub struct Claimed {
    transcript: Transcript,
    pub initiator: PublicKey,
}

/// Reads who sends an initiation. `None`: forged.
pub fn read_static(identity: &Identity, initiation: &Initiation) -> Option<Claimed> {
    let mut transcript = Transcript::new(&identity.public);
    transcript.mix_ephemeral(&initiation.ephemeral);
    let key = transcript.mix_key_for_cipher(identity.agree(&initiation.ephemeral)?.as_bytes());
    let initiator = PublicKey(transcript.open(&key, &initiation.sealed_static)?);
    Some(Claimed { transcript, initiator })
}

/// An initiation that its sender has made; it may be a copy of an old one, as long as nobody has looked at its stamp.
pub struct Authentic {
    transcript: Transcript,
    pub stamp: Tai64n,
}

impl Claimed {
    pub fn read_stamp(mut self, static_static: &SharedKey, initiation: &Initiation) -> Option<Authentic> {
        let key = self.transcript.mix_key_for_cipher(static_static.as_bytes());
        let stamp = Tai64n(self.transcript.open(&key, &initiation.sealed_stamp)?);
        Some(Authentic { transcript: self.transcript, stamp })
    }
}

impl Authentic {
    /// Makes the response, and the keys of the session.
    pub fn respond(
        mut self,
        initiator: &PublicKey,
        preshared: Option<&PresharedKey>,
        ephemeral: &PrivateKey,
        local: u32,
        initiation: &Initiation,
    ) -> Option<(Response, SessionKeys)> {
        let ephemeral_public = ephemeral.public();
        self.transcript.mix_ephemeral(&ephemeral_public);
        self.transcript.mix_key(ephemeral.agree(&initiation.ephemeral)?.as_bytes());
        self.transcript.mix_key(ephemeral.agree(initiator)?.as_bytes());
        let key = self.transcript.mix_preshared(preshared);
        let sealed_empty = self.transcript.seal(&key, &[])?;
        let response =
            Response { sender: local, receiver: initiation.sender, ephemeral: ephemeral_public, sealed_empty };
        let SessionKeys { send: receive, receive: send } = self.transcript.session_keys();
        Some((response, SessionKeys { send, receive }))
    }
}
