// The standard object metadata as a strict JSON schema: shapes and bounds that the API server of Kubernetes
// checks by itself, and the file store through this. Names and label values have rules of their own, in
// check-metadata.ts, whose messages say more than a pattern can.

const text = { type: 'string' };
const map = { type: 'object', additionalProperties: text };

export const metadataSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    name: { type: 'string', maxLength: 253 },
    generateName: { type: 'string', maxLength: 253 },
    namespace: { type: 'string', maxLength: 63 },
    uid: text,
    resourceVersion: text,
    generation: { type: 'integer' },
    creationTimestamp: text,
    deletionTimestamp: text,
    deletionGracePeriodSeconds: { type: 'integer' },
    selfLink: text,
    labels: map,
    annotations: map,
    finalizers: { type: 'array', items: text, maxItems: 64 },
    managedFields: { type: 'array', items: { type: 'object' } },
    ownerReferences: {
      type: 'array',
      maxItems: 64,
      items: {
        type: 'object',
        additionalProperties: false,
        required: ['apiVersion', 'kind', 'name', 'uid'],
        properties: {
          apiVersion: text,
          kind: text,
          name: text,
          uid: text,
          controller: { type: 'boolean' },
          blockOwnerDeletion: { type: 'boolean' },
        },
      },
    },
  },
};
