// A sandbox that has left on its way from agent to agent (Peer.Leaver): a manifest with the length of each file, then the files.
// Both ends are who their certificates say, and TLS keeps what is sent whole, so nothing is hashed while ranks stand still. Logs
// come from where the sandbox had them and go to where it will have them, beside the image. Nothing of it knows who may ask.
import type { SandboxId } from '../../wire/agent-types.ts';
import type { LeaverCall, Wire } from '../../wire/load.ts';
import { AgentError, messageOf } from '../agent-error.ts';
import { FileReceiver, receiveFiles, sendFile, sendManifest } from '../checkpoint/file-transfer.ts';
import { manifestVersion, type Manifest } from '../checkpoint/image.ts';
import { peerClient, peerCredentials } from '../peer-client.ts';
import type { TlsMaterial } from '../tls.ts';

/** `pathOf`: where a file of the manifest is. Throws when the other side goes. */
export async function sendLeaver(
  call: LeaverCall,
  manifest: Manifest,
  pathOf: (name: string) => string,
): Promise<void> {
  await sendManifest(call, Buffer.from(JSON.stringify(manifest)));
  for (const { name, bytes } of manifest.files) await sendFile(call, name, pathOf(name), bytes);
  call.end();
}

export interface FetchLeaver {
  readonly wire: Wire;
  readonly tls: TlsMaterial;
  readonly node: string;
  readonly address: string;
  /** As it is where it leaves. */
  readonly id: SandboxId;
  readonly migrationUid: string;
  /** Where a file of the manifest goes. */
  readonly pathOf: (name: string) => string;
}

/** Gives the manifest and how much came. Throws AgentError TransferFailed. */
export async function fetchLeaver(
  { wire, tls, node, address, id, migrationUid, pathOf }: FetchLeaver,
  signal: AbortSignal,
): Promise<{ manifest: Manifest; bytes: number }> {
  const client = peerClient(wire, peerCredentials(tls), { node, address });
  try {
    await using receiver = new FileReceiver({ manifestOf, pathOf, isKept: false });
    const manifest = await receiveFiles(client, client.leaver({ id, migrationUid }), receiver, signal);
    return { manifest, bytes: receiver.bytes };
  } catch (cause) {
    signal.throwIfAborted();
    if (cause instanceof AgentError) throw cause;
    throw new AgentError(
      'failed',
      'TransferFailed',
      'MUSTER_TRANSFER_FAILED',
      `from node ${node} at ${address}: ${messageOf(cause)}`,
      { cause },
    );
  }
}

function manifestOf(bytes: Buffer): Manifest {
  const manifest = JSON.parse(bytes.toString('utf8')) as Manifest;
  if (manifest.version !== manifestVersion)
    throw new Error(
      `it speaks version ${String(manifest.version)} of images, not ${String(manifestVersion)}`,
    );
  return manifest;
}
