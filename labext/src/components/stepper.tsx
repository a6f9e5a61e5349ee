/** The number of workers of a cluster, to be changed by one or typed in. */
import { type JSX, useEffect, useRef, useState } from 'react';
import { messageOf } from '../clusterApi';
import { parseWorkers } from '../startForm';
import type { Translations } from '../tokens';

/** Clicks that follow each other this fast are one change. */
const SETTLE_MS = 350;

export interface IStepperProps {
  readonly wanted: number;
  readonly trans: Translations;
  /** Rejects with what is wrong. */
  readonly onScale: (workers: number) => Promise<unknown>;
}

export function Stepper(props: IStepperProps): JSX.Element {
  const { trans } = props;
  const { text, workers, problem, set, step } = useStepper(props);
  return (
    <div className="cellspan-Stepper">
      <button
        type="button"
        className="cellspan-Stepper-step"
        aria-label={trans.__('One worker less')}
        title={trans.__('One worker less')}
        disabled={typeof workers === 'number' && workers <= 1}
        onClick={() => {
          step(-1);
        }}
      >
        −
      </button>
      <input
        type="text"
        inputMode="numeric"
        aria-label={trans.__('Number of workers')}
        aria-invalid={problem !== null}
        value={text}
        onChange={event => {
          set(event.target.value);
        }}
        onKeyDown={event => {
          if (event.key === 'Escape') {
            set(null);
          } else if (event.key === 'ArrowUp' || event.key === 'ArrowDown') {
            event.preventDefault();
            step(event.key === 'ArrowUp' ? 1 : -1);
          }
        }}
        onBlur={() => {
          if (typeof workers === 'string') {
            set(null);
          }
        }}
      />
      <button
        type="button"
        className="cellspan-Stepper-step"
        aria-label={trans.__('One worker more')}
        title={trans.__('One worker more')}
        onClick={() => {
          step(1);
        }}
      >
        +
      </button>
      {problem !== null && (
        <div className="cellspan-Wrong" role="alert">
          {problem}
        </div>
      )}
    </div>
  );
}

interface IStepperState {
  readonly text: string;
  /** What the text means, or why it means nothing. */
  readonly workers: number | string;
  readonly problem: string | null;
  /** Take what is typed; null for what the cluster has. */
  readonly set: (draft: string | null) => void;
  readonly step: (by: number) => void;
}

function useStepper({ wanted, trans, onScale }: IStepperProps): IStepperState {
  const [draft, setDraft] = useState<string | null>(null);
  const [refusal, setRefusal] = useState<string | null>(null);
  const text = draft ?? String(wanted);
  const workers = parseWorkers(text, trans);
  const set = (next: string | null): void => {
    setRefusal(null);
    setDraft(next);
  };

  // What is carried out is asked for by the latest render, when the number has stood for a moment.
  const scale = useRef(() => Promise.resolve());
  scale.current = async () => {
    try {
      if (typeof workers === 'number' && workers !== wanted) {
        await onScale(workers);
      }
    } catch (reason) {
      setRefusal(messageOf(reason));
    }
    // Unless something else was typed meanwhile.
    setDraft(now => (now === draft ? null : now));
  };
  const isNumber = typeof workers === 'number';
  useEffect(() => {
    if (draft === null || !isNumber) {
      return undefined;
    }
    const timer = window.setTimeout(() => {
      void scale.current();
    }, SETTLE_MS);
    return () => {
      window.clearTimeout(timer);
    };
  }, [draft, isNumber]);

  return {
    text,
    workers,
    problem: typeof workers === 'string' ? workers : refusal,
    set,
    step: by => {
      set(String((typeof workers === 'number' ? workers : wanted) + by));
    }
  };
}
