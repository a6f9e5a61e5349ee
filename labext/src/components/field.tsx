/** A labelled input or choice with its help and its error, tied together for screen readers. */
import { type JSX, type RefObject, useId } from 'react';

export interface IFieldProps {
  readonly label: string;
  readonly value: string;
  readonly onChange: (value: string) => void;
  readonly help?: string | undefined;
  readonly error?: string | undefined;
  readonly placeholder?: string;
  readonly inputMode?: 'numeric' | 'decimal';
  /** Makes it a choice: value and text of each. */
  readonly options?: readonly (readonly [string, string])[];
  readonly inputRef?: RefObject<HTMLInputElement>;
}

export function Field(props: IFieldProps): JSX.Element {
  const id = useId();
  const noteId = `${id}-note`;
  const note = props.error ?? props.help;
  const shared = {
    id,
    value: props.value,
    'aria-invalid': props.error !== undefined,
    'aria-describedby': note === undefined ? undefined : noteId
  };
  return (
    <div className="cellspan-Field">
      <label htmlFor={id}>{props.label}</label>
      {props.options ? (
        <select
          {...shared}
          onChange={event => {
            props.onChange(event.target.value);
          }}
        >
          {props.options.map(([value, text]) => (
            <option key={value} value={value}>
              {text}
            </option>
          ))}
        </select>
      ) : (
        <input
          {...shared}
          ref={props.inputRef}
          type="text"
          inputMode={props.inputMode}
          placeholder={props.placeholder}
          autoComplete="off"
          spellCheck={false}
          onChange={event => {
            props.onChange(event.target.value);
          }}
        />
      )}
      {note !== undefined && (
        <div
          id={noteId}
          className={props.error === undefined ? 'cellspan-Muted' : 'cellspan-Wrong'}
          role={props.error === undefined ? undefined : 'alert'}
        >
          {note}
        </div>
      )}
    </div>
  );
}
