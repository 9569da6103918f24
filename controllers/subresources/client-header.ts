/** Header with the secret by which a client that attaches is known again; not in the path, which servers log. */
export const clientHeader = 'x-muster-client';
