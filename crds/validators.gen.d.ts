// Shape of the generated validators: true, or false with every error in `errors`.
export interface SchemaError {
  instancePath: string;
  keyword: string;
  params: Record<string, unknown>;
}
export interface Validator {
  (data: unknown): boolean;
  errors?: SchemaError[] | null;
}
export declare const ProcessGroup: Validator;
export declare const Checkpoint: Validator;
export declare const Migration: Validator;
export declare const NodeMonitor: Validator;
