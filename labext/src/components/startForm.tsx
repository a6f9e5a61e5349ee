/**
 * The form for a new cluster. What was typed is checked by startForm.ts; what the server says is shown
 * in place.
 */
import { type JSX, type RefObject, useEffect, useRef, useState } from 'react';
import { ApiError, messageOf } from '../clusterApi';
import { checkForm, FORM_FIELD, type FormErrors, freeName, type IStartForm } from '../startForm';
import type { ICluster, IStartRequest, Lifetime, Translations } from '../tokens';
import { lifetimeHelp } from '../words';
import { MAIN_BUTTON } from './commandButton';
import { Field } from './field';

/** A kernel whose Python can run a cluster. */
export interface IKernelChoice {
  readonly name: string;
  readonly title: string;
}

export interface IStartFormProps {
  readonly clusters: readonly ICluster[];
  readonly kernels: readonly IKernelChoice[];
  /** The kernel of the active notebook, if there is one. */
  readonly activeKernel: { readonly name: string; readonly id: string } | null;
  /** What the settings say about new clusters. */
  readonly defaults: Partial<IStartForm>;
  readonly trans: Translations;
  /** Rejects with an ApiError when the server refuses. */
  readonly onStart: (request: IStartRequest) => Promise<void>;
  readonly onClose: () => void;
}

/** The state of the form while it is open. */
interface IStartFormState {
  readonly form: IStartForm;
  readonly errors: FormErrors;
  /** What the server said that belongs to no field. */
  readonly refusal: string | null;
  readonly isBusy: boolean;
  readonly set: (change: Partial<IStartForm>) => void;
  readonly submit: () => Promise<void>;
}

export function StartForm(props: IStartFormProps): JSX.Element {
  const { trans, onClose } = props;
  const state = useStartForm(props);
  const first = useRef<HTMLInputElement>(null);
  useEffect(() => {
    first.current?.focus();
    first.current?.select();
  }, []);
  return (
    <form
      className="cellspan-Form"
      aria-label={trans.__('New cluster')}
      noValidate
      onSubmit={event => {
        event.preventDefault();
        void state.submit();
      }}
      onKeyDown={event => {
        if (event.key === 'Escape') {
          event.stopPropagation();
          onClose();
        }
      }}
    >
      <h3>{trans.__('New cluster')}</h3>
      <SizeFields state={state} trans={trans} firstRef={first} />
      <LifeFields {...props} state={state} />
      {state.refusal !== null && (
        <div className="cellspan-Wrong" role="alert">
          {state.refusal}
        </div>
      )}
      <div className="cellspan-Form-buttons">
        <button type="button" className="cellspan-Button" onClick={onClose}>
          {trans.__('Cancel')}
        </button>
        <button type="submit" className={`cellspan-Button ${MAIN_BUTTON}`} disabled={state.isBusy}>
          {state.isBusy ? trans.__('Starting…') : trans.__('Start')}
        </button>
      </div>
    </form>
  );
}

/** Name, and what the cluster is made of. */
function SizeFields(props: {
  state: IStartFormState;
  trans: Translations;
  firstRef: RefObject<HTMLInputElement>;
}): JSX.Element {
  const { state, trans } = props;
  return (
    <>
      <Field label={trans.__('Name')} inputRef={props.firstRef} {...bind(state, 'name')} />
      <div className="cellspan-Form-pair">
        <Field label={trans.__('Workers')} inputMode="numeric" {...bind(state, 'workers')} />
        <Field
          label={trans.__('Cores each')}
          inputMode="numeric"
          placeholder={trans.__('all')}
          {...bind(state, 'cores')}
        />
      </div>
      <Field
        label={trans.__('Memory per worker')}
        placeholder={trans.__('all, or e.g. 4 GB')}
        {...bind(state, 'memory')}
      />
    </>
  );
}

/** When it ends, and what Python runs it. */
function LifeFields(props: IStartFormProps & { state: IStartFormState }): JSX.Element {
  const { state, trans, kernels, activeKernel } = props;
  const { form, errors } = state;
  return (
    <>
      <Field
        label={trans.__('Lifetime')}
        help={lifetimeHelp(form.lifetime, trans)}
        options={[
          ['server', trans.__('With the Jupyter server')],
          ['kernel', trans.__('With the notebook’s kernel')],
          ['detached', trans.__('Until stopped')]
        ]}
        value={form.lifetime}
        error={errors.lifetime}
        onChange={value => {
          state.set({ lifetime: value as Lifetime });
        }}
      />
      {form.lifetime === 'detached' && (
        <Field
          label={trans.__('Minutes without use before it ends')}
          inputMode="decimal"
          placeholder="60"
          {...bind(state, 'idleMinutes')}
        />
      )}
      {kernels.length > 0 && (
        <Field
          label={trans.__('Python')}
          help={
            form.kernelName === activeKernel?.name
              ? trans.__('The environment of the active notebook.')
              : undefined
          }
          options={kernels.map(kernel => [kernel.name, kernel.title])}
          {...bind(state, 'kernelName')}
        />
      )}
    </>
  );
}

/** What a field of text shows and does. */
function bind(
  state: IStartFormState,
  field: keyof IStartForm
): { value: string; error: string | undefined; onChange: (value: string) => void } {
  return {
    value: state.form[field],
    error: state.errors[field],
    onChange: value => {
      state.set({ [field]: value });
    }
  };
}

function useStartForm(props: IStartFormProps): IStartFormState {
  const { activeKernel, trans } = props;
  const taken = props.clusters.filter(c => c.state !== 'failed').map(c => c.name);
  const [form, setForm] = useState<IStartForm>(() => ({
    name: freeName(taken),
    workers: '1',
    cores: '',
    memory: '',
    lifetime: 'server',
    idleMinutes: '',
    ...props.defaults,
    kernelName: activeKernel?.name ?? props.kernels.at(0)?.name ?? ''
  }));
  const [isTried, setTried] = useState(false);
  const [isBusy, setBusy] = useState(false);
  const [refused, setRefused] = useState<{ text: string; fields: FormErrors } | null>(null);
  const checked = checkForm(form, taken, activeKernel?.id ?? null, trans);
  return {
    form,
    errors: { ...(refused?.fields ?? {}), ...(isTried ? checked.errors : {}) },
    refusal: refused && Object.keys(refused.fields).length === 0 ? refused.text : null,
    isBusy,
    set: change => {
      setForm({ ...form, ...change });
      setRefused(null);
    },
    submit: async () => {
      setTried(true);
      if (!checked.request) {
        return;
      }
      setBusy(true);
      try {
        await props.onStart(checked.request);
        props.onClose();
      } catch (reason) {
        setRefused(toRefusal(reason));
        setBusy(false);
      }
    }
  };
}

function toRefusal(reason: unknown): { text: string; fields: FormErrors } {
  const fields: Partial<Record<keyof IStartForm, string>> = {};
  if (reason instanceof ApiError) {
    for (const [name, wrong] of Object.entries(reason.fields)) {
      const field = FORM_FIELD[name];
      if (field) {
        fields[field] = wrong;
      }
    }
    if (reason.status === 409) {
      fields.name = reason.message;
    }
  }
  return { text: messageOf(reason), fields };
}
