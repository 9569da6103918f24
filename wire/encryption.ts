// What the hub says of a group's network when the tunnels between its nodes are to be encrypted, and what a node is called that can.
export const encrypted = 'WireGuard';
export const encryptingFeature = 'network-encrypted';
