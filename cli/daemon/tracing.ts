/**
 * Where spans go: to the OTLP endpoint that the environment names, in batches, by the packages of OpenTelemetry, which are loaded only
 * then. A collector that is away costs spans, never the daemon: what waits is bounded, and what cannot be sent is told once a minute.
 */
import type { HrTime } from '@opentelemetry/api';
import type { ReadableSpan } from '@opentelemetry/sdk-trace';
import type { Logger } from 'pino';
import type { Trace, TraceSpan } from '../../wire/trace.ts';
import { otlpEndpoint } from '../config.ts';
import { ownVersion } from '../commands/version.ts';

export interface Tracing extends AsyncDisposable {
  readonly trace: Trace;
}

const mostWaiting = 2048;
const sendWithinMs = 5_000;
const sendEveryMs = 1_000;

/** Undefined when nobody asks for traces. */
export async function openTracing(
  part: 'muster-controller' | 'muster-agent',
  node: string | undefined,
  logger: Logger,
): Promise<Tracing | undefined> {
  const endpoint = otlpEndpoint();
  if (endpoint === undefined) return undefined;
  const { diag, SpanKind, SpanStatusCode, TraceFlags } = await import('@opentelemetry/api');
  const { OTLPTraceExporter } = await import('@opentelemetry/exporter-trace-otlp-http');
  const { resourceFromAttributes } = await import('@opentelemetry/resources');
  const { BatchSpanProcessor } = await import('@opentelemetry/sdk-trace');
  let toldMs = -Infinity;
  const trouble = (message: string): void => {
    if (performance.now() - toldMs < 60_000) return;
    toldMs = performance.now();
    logger.warn({ endpoint, error: message }, 'traces cannot be sent');
  };
  const quiet = (): void => undefined;
  diag.setLogger({ error: trouble, warn: trouble, info: quiet, debug: quiet, verbose: quiet });
  const exporter = new OTLPTraceExporter({ timeoutMillis: sendWithinMs });
  const processor = new BatchSpanProcessor({
    exporter,
    maxQueueSize: mostWaiting,
    scheduledDelayMillis: sendEveryMs,
  });
  const resource = resourceFromAttributes({
    'service.name': part,
    'service.version': ownVersion(),
    ...(node === undefined ? {} : { 'host.name': node }),
  });
  const spanOf = (span: TraceSpan): ReadableSpan => {
    const context = { traceId: span.traceId, traceFlags: TraceFlags.SAMPLED };
    return {
      name: span.name,
      kind: SpanKind.INTERNAL,
      spanContext: () => ({ ...context, spanId: span.spanId }),
      ...(span.parentId === undefined ? {} : { parentSpanContext: { ...context, spanId: span.parentId } }),
      startTime: timeOf(span.startMs),
      endTime: timeOf(span.endMs),
      duration: timeOf(Math.max(0, span.endMs - span.startMs)),
      status:
        span.error === undefined
          ? { code: SpanStatusCode.OK }
          : { code: SpanStatusCode.ERROR, message: span.error },
      attributes: { ...span.attributes },
      links: [],
      events: [],
      ended: true,
      resource,
      instrumentationScope: { name: 'muster', version: ownVersion() },
      droppedAttributesCount: 0,
      droppedEventsCount: 0,
      droppedLinksCount: 0,
    };
  };
  logger.info({ endpoint }, 'traces are sent');
  return {
    trace: (span) => processor.onEnd(spanOf(span)),
    [Symbol.asyncDispose]: async () => {
      const late = new Promise<void>((resolve) => setTimeout(resolve, sendWithinMs).unref());
      await Promise.race([processor.shutdown().catch(() => undefined), late]);
    },
  };
}

const timeOf = (ms: number): HrTime => [Math.floor(ms / 1000), Math.round((ms % 1000) * 1e6)];
